/** The bytes of COPY, against the manual's description of them. That Postgres reads them so: test/integration/record.test.ts. */
import { expect, test } from "vitest";
import { CopyBuffer } from "../../../src/postgres/copy_binary.ts";

const HEADER = `${Buffer.from("PGCOPY\n\xff\r\n\0", "latin1").toString("hex")}0000000000000000`;
const TRAILER = "ffff";

/** What follows the header, without the trailer. */
function bytesOf(fill: (buffer: CopyBuffer) => unknown): string {
  const buffer = new CopyBuffer();
  fill(buffer);
  const text = buffer.finish().toString("hex");
  expect(text.startsWith(HEADER)).toBe(true);
  expect(text.endsWith(TRAILER)).toBe(true);
  return text.slice(HEADER.length, -TRAILER.length);
}

test("no rows are a header and a trailer", () => {
  expect(bytesOf(() => {})).toBe("");
});

test.each<[string, (buffer: CopyBuffer) => unknown, string]>([
  ["a row of 14", (buffer) => buffer.row(14), "000e"],
  ["null", (buffer) => buffer.null(), "ffffffff"],
  ["no text", (buffer) => buffer.text(null), "ffffffff"],
  ["an empty text", (buffer) => buffer.text(""), "00000000"],
  [
    "text of one, two, three and four bytes",
    (buffer) => buffer.text("aé€😀"),
    "0000000a61c3a9e282acf09f9880",
  ],
  ["jsonb, behind its version", (buffer) => buffer.jsonb('"é"'), "000000050122c3a922"],
  ["no jsonb", (buffer) => buffer.jsonb(null), "ffffffff"],
  ["int4", (buffer) => buffer.int4(-2), "00000004fffffffe"],
  ["int8", (buffer) => buffer.int8(1), "000000080000000000000001"],
  ["int8 above 32 bits", (buffer) => buffer.int8(2 ** 40 + 5), "000000080000010000000005"],
  ["int8 below 0", (buffer) => buffer.int8(-1), "00000008ffffffffffffffff"],
  ["int8 below 32 bits", (buffer) => buffer.int8(-(2 ** 40)), "00000008ffffff0000000000"],
  [
    "the first moment that Postgres counts",
    (buffer) => buffer.timestamp(946_684_800_000),
    "000000080000000000000000",
  ],
  ["a moment 1 ms later", (buffer) => buffer.timestamp(946_684_800_001), "0000000800000000000003e8"],
  ["a moment before", (buffer) => buffer.timestamp(946_684_799_999), "00000008fffffffffffffc18"],
  ["no moment", (buffer) => buffer.timestamp(null), "ffffffff"],
  [
    "a UUID",
    (buffer) => buffer.uuid("0192f0c1-1234-7abc-89ab-0123456789ab"),
    "000000100192f0c112347abc89ab0123456789ab",
  ],
  ["no texts", (buffer) => buffer.texts([]), "0000000c000000000000000000000019"],
  [
    "two texts",
    (buffer) => buffer.texts(["a", "bc"]),
    "0000001f00000001000000000000001900000002000000010000000161000000026263",
  ],
])("%s", (_name, fill, bytes) => {
  expect(bytesOf(fill)).toBe(bytes);
});

test("grows", () => {
  const long = "é".repeat(100_000);
  const bytes = Buffer.from(
    bytesOf((buffer) => buffer.row(2).text(long).int4(7)),
    "hex",
  );
  expect(bytes.readInt32BE(2)).toBe(200_000);
  expect(bytes.subarray(6, 200_006).toString()).toBe(long);
  expect(bytes.readInt32BE(200_010)).toBe(7);
});

test.each([
  ["what is no UUID"],
  ["0192f0c1-1234-7abc-89ab-0123456789a"],
  ["0192f0c1-1234-7abc-89ab-0123456789xx"],
])("%s is refused", (text) => {
  expect(() => new CopyBuffer().uuid(text)).toThrow(RangeError);
});

test("what rows have in common is put in as it is", () => {
  const common = CopyBuffer.fragment((values) => values.text("a").int4(1));
  const other = CopyBuffer.fragment((values) => values.text("b"));
  expect(bytesOf((buffer) => buffer.row(3).ready(common).ready(other))).toBe(
    bytesOf((buffer) => buffer.row(3).text("a").int4(1).text("b")),
  );
});

test("one whose bytes were another's begins empty", () => {
  const first = CopyBuffer.take().row(1).text("earlier");
  first.finish();
  first.release();
  const second = CopyBuffer.take();
  expect(second).toBe(first);
  expect(second.finish().toString("hex")).toBe(`${HEADER}${TRAILER}`);
});
