/** Collects the keys of a call; the call names them by position. */
export class KeyList {
  readonly keys: string[];
  readonly #positions = new Map<string, number>();

  constructor(first: string[]) {
    this.keys = first;
    first.forEach((key, index) => {
      this.#positions.set(key, index + 1);
    });
  }

  position(key: string): number {
    let position = this.#positions.get(key);
    if (position === undefined) {
      position = this.keys.push(key);
      this.#positions.set(key, position);
    }
    return position;
  }
}
