/** What handlers throw and return although nobody should: each fails its node with a code and a message, and nothing else. */
import { runInNewContext } from "node:vm";
import { RetryAfterError } from "../../src/handlers/errors.ts";

export interface HostileThrow {
  name: string;
  make: () => unknown;
  code: string;
  /** The recorded message, or what it has to match. */
  message: string | RegExp;
}

const throwing = (): never => {
  throw new Error("a trap");
};
const revoked = (target: object) => {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
};
const trapped = () =>
  new Proxy(new Error("behind"), {
    get: throwing,
    getPrototypeOf: throwing,
    has: throwing,
    ownKeys: throwing,
  });
const withGetter = (key: string) => Object.defineProperty(new Error("it broke"), key, { get: throwing });
const withValue = (key: string, value: unknown) =>
  Object.defineProperty(new Error("it broke"), key, { value });
const cyclic = () => {
  const error = new Error("round");
  error.cause = error;
  return error;
};
const longChain = () => {
  let error = new Error("the first");
  for (let link = 0; link < 10_000; link++) error = new Error(`link ${link}`, { cause: error });
  return error;
};
class Teapot {
  status = 418;
}

const NO_ERROR = "a value that is no Error was thrown: ";
const ANY = "HANDLER_ERROR";

const hostile = (name: string, make: () => unknown, message: string | RegExp, code = ANY): HostileThrow => ({
  name,
  make,
  code,
  message,
});

export const HOSTILE_THROWS: readonly HostileThrow[] = [
  hostile("undefined", () => undefined, `${NO_ERROR}undefined`),
  hostile("null", () => null, `${NO_ERROR}null`),
  hostile("a text", () => "no quota", `${NO_ERROR}no quota`),
  hostile("an empty text", () => "", NO_ERROR),
  hostile("a number", () => 404, `${NO_ERROR}404`),
  hostile("NaN", () => Number.NaN, `${NO_ERROR}NaN`),
  hostile("a bigint", () => 1n, `${NO_ERROR}1n`),
  hostile("false", () => false, `${NO_ERROR}false`),
  hostile("a symbol", () => Symbol("s"), `${NO_ERROR}Symbol(s)`),
  hostile("a function", () => function broke() {}, `${NO_ERROR}[Function: broke]`),
  hostile("a class", () => Teapot, `${NO_ERROR}[class Teapot]`),
  hostile("an instance of a class", () => new Teapot(), `${NO_ERROR}Teapot { status: 418 }`),
  hostile(
    "an object",
    () => ({ status: 500, config: { token: "t" } }),
    `${NO_ERROR}{ status: 500, config: [Object] }`,
  ),
  hostile("a list", () => [1, 2], `${NO_ERROR}[ 1, 2 ]`),
  hostile(
    "an object without a prototype",
    () => Object.create(null),
    `${NO_ERROR}[Object: null prototype] {}`,
  ),
  hostile("a promise", () => Promise.resolve(1), /Promise/),
  hostile("a date", () => new Date(0), `${NO_ERROR}1970-01-01T00:00:00.000Z`),
  hostile(
    "an object whose toString throws",
    () => ({ toString: throwing }),
    /toString: \[Function: throwing\]/,
  ),
  hostile(
    "an object whose toStringTag throws",
    () => Object.defineProperty({}, Symbol.toStringTag, { get: throwing }),
    /no Error was thrown/,
  ),
  hostile("a revoked proxy", () => revoked({}), /no Error was thrown: .*[Rr]evoked/),
  hostile("a revoked proxy of an error", () => revoked(new Error("x")), /no Error was thrown/),
  hostile("a proxy that throws whatever is asked", trapped, /no Error was thrown/),
  hostile("a revoked proxy of a function", () => revoked(() => 1), /no Error was thrown/),
  hostile("an object with a message", () => ({ message: "like an error" }), "like an error"),
  hostile("a message that is an object", () => withValue("message", { reason: "x" }), "{ reason: 'x' }"),
  hostile("a message that is null", () => withValue("message", null), "null"),
  hostile("a message that is a symbol", () => withValue("message", Symbol("m")), "Symbol(m)"),
  hostile("a message that is a number", () => withValue("message", 5), "5"),
  hostile("a message that is a function", () => withValue("message", () => "x"), /Function/),
  hostile("a message that is a revoked proxy", () => withValue("message", revoked({})), /[Rr]evoked/),
  hostile("a message that throws", () => withGetter("message"), /no Error was thrown/),
  hostile("no message", () => new TypeError(), "TypeError"),
  hostile("neither message nor name", () => withValue("message", ""), "Error"),
  hostile(
    "a message of 5 MB",
    () => new Error("m".repeat(5_000_000)),
    /^m{8192}… \(4991808 more characters\)$/,
  ),
  hostile("a message with NUL and half an emoji", () => new Error("a\u0000b\ud83d"), "a\u2400b\ufffd"),
  hostile("a message cut within an emoji", () => new Error(`${"m".repeat(8_191)}😀`), /^m{8191}\ufffd…/),
  hostile("a stack that is a number", () => withValue("stack", 7), "it broke"),
  hostile("a stack that is an object", () => withValue("stack", { at: 1 }), "it broke"),
  hostile("a stack that throws", () => withGetter("stack"), "it broke"),
  hostile("a stack of 5 MB", () => withValue("stack", "s".repeat(5_000_000)), "it broke"),
  hostile("a name that throws", () => withGetter("name"), "it broke"),
  hostile("a name that is an object", () => withValue("name", {}), "it broke"),
  hostile("a code", () => withValue("code", "NO_QUOTA"), "it broke", "NO_QUOTA"),
  hostile("a code that is a number", () => withValue("code", 23505), "it broke"),
  hostile("a code that is an object", () => withValue("code", { a: 1 }), "it broke"),
  hostile("a code that is a text object", () => withValue("code", new String("NO_QUOTA")), "it broke"),
  hostile("a code in small letters", () => withValue("code", "no quota\n"), "it broke"),
  hostile("a code of 5 MB", () => withValue("code", "C".repeat(5_000_000)), "it broke"),
  hostile("a code that throws", () => withGetter("code"), "it broke"),
  hostile("the engine's own code", () => withValue("code", "DEAD_LETTER"), "it broke"),
  hostile("a frozen error", () => Object.freeze(new Error("it broke")), "it broke"),
  hostile("an error that is its own cause", cyclic, "round"),
  hostile("a chain of 10,000 causes", longChain, "link 9999"),
  hostile("a cause that throws", () => withGetter("cause"), "it broke"),
  hostile("a cause that is a revoked proxy", () => withValue("cause", revoked({})), "it broke"),
  hostile("errors that are no list", () => withValue("errors", 5), "it broke"),
  hostile("errors that are a revoked proxy", () => withValue("errors", revoked([])), "it broke"),
  hostile(
    "5,000 errors",
    () => new AggregateError(Array.from({ length: 5_000 }, () => new Error("one"))),
    "AggregateError",
  ),
  hostile(
    "an error of another realm",
    () => runInNewContext(`Object.assign(new TypeError("far"), { code: "FAR" })`),
    "far",
    "FAR",
  ),
  hostile(
    "a text object of another realm",
    () => runInNewContext(`new String("far")`),
    `${NO_ERROR}[String: 'far']`,
  ),
];

const delayed = (name: string, delayMs: unknown, isLate = false) => ({
  ...hostile(name, () => new RetryAfterError("later", delayMs as number), "later", "RETRY_AFTER"),
  isLate,
});

/** Delays that nobody should ask for; `isLate`: another attempt, if the node has one, is days away. */
export const HOSTILE_DELAYS: readonly (HostileThrow & { isLate: boolean })[] = [
  delayed("a RetryAfterError of NaN", Number.NaN),
  delayed("a RetryAfterError of -5", -5),
  delayed("a RetryAfterError of -Infinity", Number.NEGATIVE_INFINITY),
  delayed("a RetryAfterError of a text", "5000"),
  delayed("a RetryAfterError of a bigint", 10n),
  delayed("a RetryAfterError of a revoked proxy", revoked({})),
  delayed("a RetryAfterError of 1e18", 1e18, true),
  delayed("a RetryAfterError of Infinity", Number.POSITIVE_INFINITY, true),
  {
    ...hostile(
      "a RetryAfterError whose delay throws",
      () => Object.defineProperty(new RetryAfterError("later", 1), "delayMs", { get: throwing }),
      "later",
      "RETRY_AFTER",
    ),
    isLate: false,
  },
];

export interface HostileResult {
  name: string;
  make: () => unknown;
  code: string;
  /** Matches the message; undefined: what was thrown while it was read is the error. */
  refused: RegExp | undefined;
}

const result = (
  name: string,
  make: () => unknown,
  refused?: RegExp,
  code = refused ? "OUTPUT_NOT_JSON" : ANY,
): HostileResult => ({ name, make, code, refused });

class Sealed {
  #secret = 1;
  get secret() {
    return this.#secret;
  }
}
function* count() {
  yield 1;
}
const inside = (value: unknown) => ({ a: [{ b: value }] });
const THEN = "then";
type Settle = (value: unknown) => void;
const thenable = (then: (resolve: Settle, reject: Settle) => void) =>
  Object.defineProperty({}, THEN, { value: then });
const round = () => {
  const object: Record<string, unknown> = {};
  object.list = [object];
  return object;
};
const deep = () => {
  let list: unknown = 1;
  for (let level = 0; level < 100_000; level++) list = [list];
  return list;
};

/** What handlers return although JSON would lose it: each fails its node with OUTPUT_NOT_JSON, or with what reading it throws. */
export const HOSTILE_RESULTS: readonly HostileResult[] = [
  result("a Response", () => new Response("x"), /\$ is a Response, .*response\.json\(\)/),
  result("a Request", () => inside(new Request("http://a/")), /\$\.a\[0\]\.b is a Request,/),
  result("Headers", () => inside(new Headers({ a: "b" })), /\$\.a\[0\]\.b is a Headers,/),
  result("FormData", () => new FormData(), /is a FormData,/),
  result("a Blob", () => new Blob(["x"]), /is a Blob,/),
  result("a ReadableStream", () => new ReadableStream(), /is a ReadableStream,/),
  result("URLSearchParams", () => new URLSearchParams("a=b"), /is a URLSearchParams,/),
  result("an AbortSignal", () => new AbortController().signal, /is a AbortSignal,/),
  result("a Map", () => inside(new Map([[1, 2]])), /\$\.a\[0\]\.b is a Map,/),
  result("a Map of another realm", () => runInNewContext("new Map([[1, 2]])"), /is a Map,/),
  result("a Set", () => new Set([1]), /is a Set,/),
  result("a WeakMap", () => new WeakMap(), /is a WeakMap,/),
  result("a WeakRef", () => new WeakRef({}), /is a WeakRef,/),
  result("a Promise inside", () => inside(Promise.resolve(1)), /\$\.a\[0\]\.b is a Promise, .*await it/),
  result("a Promise of another realm", () => inside(runInNewContext("Promise.resolve(1)")), /is a Promise/),
  result("a RegExp", () => /x/, /is a RegExp,/),
  result("an Error", () => ({ error: new TypeError("x") }), /\$\.error is an Error \(TypeError\)/),
  result("an Error with fields", () => Object.assign(new Error("x"), { code: 1 }), /is an Error/),
  result("a Buffer", () => ({ file: Buffer.from("x") }), /\$\.file is a Buffer, .*base64/),
  result("a typed array", () => new Float64Array(2), /is a Float64Array,/),
  result("a DataView", () => new DataView(new ArrayBuffer(1)), /is a DataView,/),
  result("an ArrayBuffer", () => new ArrayBuffer(1), /is a ArrayBuffer,/),
  result("a function", () => inside(() => 1), /\$\.a\[0\]\.b is a function/),
  result("a class", () => Sealed, /is a function/),
  result("a symbol", () => [Symbol("s")], /\$\[0\] is a symbol/),
  result("a bigint", () => 1n, /is a bigint/),
  result("a bigint object", () => Object(1n), /is a bigint/),
  result("a generator", () => count(), /is a Generator,/),
  result("an iterator of a list", () => [1].values(), /is a Array Iterator,/),
  result(
    "an object of a class without fields",
    () => new Sealed(),
    /is a Sealed, which JSON would turn into \{\}/,
  ),
  result(
    "an object whose fields are its prototype's",
    () => Object.create({ a: 1 }),
    /which JSON would turn into/,
  ),
  result("an invalid Date", () => ({ at: new Date("never") }), /\$\.at is an invalid Date/),
  result(
    "a toJSON that gives nothing",
    () => ({ x: { toJSON() {} } }),
    /\$\.x has a toJSON that gives nothing/,
  ),
  result("a toJSON that gives a Map", () => ({ toJSON: () => new Map() }), /is a Map/),
  result("a toJSON without end", () => ({ toJSON: round, list: [] }), /deeper/, "OUTPUT_TOO_DEEP"),
  result("undefined in a list", () => [1, undefined], /\$\[1\] is undefined/),
  result("a list with holes", () => new Array(3), /\$\[0\] is undefined/),
  result("NaN", () => inside(Number.NaN), /\$\.a\[0\]\.b is NaN/),
  result("Infinity", () => -Infinity, /is -Infinity/),
  result("a number object of NaN", () => new Number(Number.NaN), /is NaN/),
  result(
    "an integer beyond 2^53",
    () => ({ id: Number("9007199254740993") }),
    /\$\.id is an integer beyond 2\^53/,
  ),
  result("a negative one", () => [-(2 ** 60)], /\$\[0\] is an integer beyond 2\^53/),
  result("NUL", () => ({ a: "x\u0000" }), /\$\.a holds the character/),
  result("half an emoji", () => "\ud83d", /half of a surrogate pair/),
  result(
    "a NUL that shows only when it is written",
    () => flickering("fine", "x\u0000"),
    /\$\.a holds the character/,
  ),
  result("a cycle", round, /cycle/),
  result("a list 100,000 deep", deep, /deeper/, "OUTPUT_TOO_DEEP"),
  result("a getter that throws", () => ({
    get a() {
      return throwing();
    },
  })),
  result("a toJSON that throws", () => ({ toJSON: throwing })),
  result("a then that throws", () => Object.defineProperty({}, THEN, { get: throwing })),
  result("a thenable that throws", () => thenable(throwing)),
  result("a thenable that rejects", () => thenable((_resolve, reject) => reject(null))),
  result("a revoked proxy", () => revoked({})),
  result("a revoked proxy inside", () => inside(revoked([]))),
  result("a proxy that throws", () => inside(trapped())),
];

/** A property that is another one after it was looked at. */
function flickering(first: string, then: string): unknown {
  let looks = 0;
  return Object.defineProperty({}, "a", {
    enumerable: true,
    get: () => {
      looks += 1;
      return looks === 2 ? then : first;
    },
  });
}

/** What looks odd and is JSON all the same. */
export const ODD_RESULTS: readonly { name: string; make: () => unknown; text: string }[] = [
  { name: "undefined", make: () => undefined, text: "null" },
  { name: "an undefined property", make: () => ({ a: undefined, b: 1 }), text: '{"b":1}' },
  { name: "-0", make: () => [-0], text: "[0]" },
  { name: "the largest exact integer", make: () => 9007199254740991, text: "9007199254740991" },
  { name: "a large measure", make: () => [1e21, -6.02214076e23], text: "[1e+21,-6.02214076e+23]" },
  { name: "a large fraction", make: () => 2 ** 51 + 0.5, text: "2251799813685248.5" },
  { name: "a Date", make: () => new Date(0), text: '"1970-01-01T00:00:00.000Z"' },
  { name: "a URL", make: () => new URL("http://a/b"), text: '"http://a/b"' },
  { name: "an object of a class with fields", make: () => new Teapot(), text: '{"status":418}' },
  {
    name: "an object without a prototype",
    make: () => Object.assign(Object.create(null), { a: 1 }),
    text: '{"a":1}',
  },
  { name: "an empty one", make: () => Object.create(null), text: "{}" },
  { name: "objects of another realm", make: () => runInNewContext("[{}, {a: [1]}]"), text: '[{},{"a":[1]}]' },
  {
    name: "objects for text, number and bool",
    make: () => [new String("x"), new Number(2), new Boolean(false)],
    text: '["x",2,false]',
  },
  {
    name: "a list of a class",
    make: () => Object.setPrototypeOf([1], class List extends Array {}.prototype),
    text: "[1]",
  },
  { name: "a frozen object", make: () => Object.freeze({ a: Object.freeze([1]) }), text: '{"a":[1]}' },
  { name: "a proxy", make: () => new Proxy({ a: [1] }, {}), text: '{"a":[1]}' },
  {
    name: "what a thenable gives",
    make: () => thenable((resolve) => resolve({ a: 1 })),
    text: '{"a":1}',
  },
];
