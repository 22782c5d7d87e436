/** A failure of an expression that hitzero itself raises. Its message never holds a value of the context. */
export class CelFault extends Error {
  /** Offset in the source, once known. */
  position: number | undefined;

  constructor(
    message: string,
    position?: number,
    /** Said behind the position. */
    readonly also: string = "",
  ) {
    super(message);
    this.name = "CelFault";
    this.position = position;
  }
}

/** Adds the position of a call to a fault that one of its functions raised. */
export function placeFault(error: unknown, position: number): unknown {
  if (error instanceof CelFault) error.position ??= position;
  return error;
}
