/** Rows in the binary format of COPY (Postgres manual, "COPY", Binary Format): built as bytes, so that Postgres parses no text of ours. */

const SIGNATURE = Buffer.from("PGCOPY\n\xff\r\n\0", "latin1");
/** Flags and the length of the header's extension, both 0. */
const HEADER_BYTES = SIGNATURE.length + 8;
const SMALLEST_BYTES = 16 * 1024;
/** Of one that is to be used again and again. */
const STARTING_BYTES = 128 * 1024;
/** Larger ones are not kept. */
const SPARE_BYTES = 4 * 1024 * 1024;
const SPARES = 4;
const OID_TEXT = 25;
const JSONB_VERSION = 1;
/** 2000-01-01, from which Postgres counts, in ms since 1970. */
const POSTGRES_EPOCH_MS = 946_684_800_000;
const TWO_TO_32 = 4_294_967_296;

export class CopyBuffer {
  #bytes: Buffer;
  #end = HEADER_BYTES;

  /** `bytes`: about how many it will be; it grows. */
  constructor(bytes: number = SMALLEST_BYTES) {
    this.#bytes = Buffer.allocUnsafe(Math.max(bytes, SMALLEST_BYTES));
    this.#bytes.fill(0, 0, HEADER_BYTES);
    SIGNATURE.copy(this.#bytes);
  }

  /** Begins a row: as many values follow. */
  row(columns: number): this {
    this.#reserve(2);
    this.#end = this.#bytes.writeInt16BE(columns, this.#end);
    return this;
  }

  null(): this {
    return this.#length(-1);
  }

  text(value: string | null): this {
    return value === null ? this.null() : this.#characters(value, 0);
  }

  /** `json`: JSON text. */
  jsonb(json: string | null): this {
    return json === null ? this.null() : this.#characters(json, 1);
  }

  /** What is ready as it stands: a `fragment`, or several. */
  ready(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#end);
    this.#end += bytes.length;
    return this;
  }

  /** `value`: 36 characters. */
  uuid(value: string): this {
    this.#length(16);
    this.#reserve(16);
    const written = this.#bytes.write(value.replaceAll("-", ""), this.#end, 16, "hex");
    if (written !== 16 || value.length !== 36) throw new RangeError(`${value} is not a UUID`);
    this.#end += 16;
    return this;
  }

  int4(value: number): this {
    this.#length(4);
    this.#reserve(4);
    this.#end = this.#bytes.writeInt32BE(value, this.#end);
    return this;
  }

  int8(value: number): this {
    this.#length(8);
    this.#reserve(8);
    this.#bytes.writeInt32BE(Math.floor(value / TWO_TO_32), this.#end);
    this.#end = this.#bytes.writeUInt32BE(value - Math.floor(value / TWO_TO_32) * TWO_TO_32, this.#end + 4);
    return this;
  }

  /** `ms` since 1970. */
  timestamp(ms: number | null): this {
    return ms === null ? this.null() : this.int8(Math.round((ms - POSTGRES_EPOCH_MS) * 1_000));
  }

  /** A list of one dimension, as `text[]`. */
  texts(values: readonly string[]): this {
    const start = this.#end;
    this.#length(0);
    const dimensions = values.length === 0 ? 0 : 1;
    this.#word(dimensions).#word(0).#word(OID_TEXT);
    if (dimensions === 1) this.#word(values.length).#word(1);
    for (const value of values) this.text(value);
    this.#bytes.writeInt32BE(this.#end - start - 4, start);
    return this;
  }

  static readonly #scratch = new CopyBuffer();

  /** Values that many rows have in common, to be put in as they are. `write` must not ask for another fragment. */
  static fragment(write: (values: CopyBuffer) => unknown): Uint8Array {
    const values = CopyBuffer.#scratch;
    values.#end = HEADER_BYTES;
    write(values);
    return Uint8Array.prototype.slice.call(values.#bytes, HEADER_BYTES, values.#end);
  }

  static readonly #spare: CopyBuffer[] = [];

  /** An empty one, whose bytes may have been another's: large ones cost the garbage collector dear. */
  static take(): CopyBuffer {
    const buffer = CopyBuffer.#spare.pop() ?? new CopyBuffer(STARTING_BYTES);
    buffer.#end = HEADER_BYTES;
    return buffer;
  }

  /** Postgres has it all: others may take its bytes. Neither it nor what `finish` returned may be used any more. */
  release(): void {
    if (this.#bytes.length <= SPARE_BYTES && CopyBuffer.#spare.length < SPARES) CopyBuffer.#spare.push(this);
  }

  /** All of it. Nothing can be added afterwards. */
  finish(): Buffer {
    return this.row(-1).#bytes.subarray(0, this.#end);
  }

  #length(bytes: number): this {
    return this.#word(bytes);
  }

  #word(value: number): this {
    this.#reserve(4);
    this.#end = this.#bytes.writeInt32BE(value, this.#end);
    return this;
  }

  /** `prefix`: bytes before the text, which hold the version of jsonb. */
  #characters(value: string, prefix: 0 | 1): this {
    // A UTF-16 unit comes to 3 bytes at most.
    this.#reserve(4 + prefix + value.length * 3);
    const start = this.#end + 4 + prefix;
    if (prefix === 1) this.#bytes[start - 1] = JSONB_VERSION;
    const written = this.#bytes.write(value, start, "utf8");
    this.#bytes.writeInt32BE(written + prefix, this.#end);
    this.#end = start + written;
    return this;
  }

  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#end + bytes));
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
}
