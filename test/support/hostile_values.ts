/** What handlers throw and return although nobody should: each fails its node with a code and a message, and nothing else. */
import { runInNewContext } from "node:vm";

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
