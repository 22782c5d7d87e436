/** The `config` of an `http` node. */
import { z } from "zod";
import { LIMITS } from "../limits.ts";
import { DEFAULTS } from "./defaults.ts";

/** A field name of RFC 9110. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** Headers that frame the message or name the connection: they follow from the request and are never the author's to set. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

const Headers = z
  .record(z.string(), z.string().max(LIMITS.expressionLength))
  .superRefine((headers, context) => {
    const seen = new Set<string>();
    for (const name of Object.keys(headers)) {
      const refuse = (message: string) => context.addIssue({ code: "custom", path: [name], message });
      const lower = name.toLowerCase();
      if (!HEADER_NAME.test(name)) refuse("this is no name of a header");
      else if (OWN_HEADERS.has(lower)) refuse("this header is set by hitzero");
      else if (seen.has(lower)) refuse("this header stands twice; upper and lower case do not differ");
      seen.add(lower);
    }
  });

const QueryValue = z.union([z.string().max(LIMITS.expressionLength), z.number(), z.boolean()]);

const Status = z.union([
  z.int().min(100).max(599),
  z.string().regex(/^(?:[1-5][xX][xX]|[1-5]\d\d-[1-5]\d\d)$/, {
    error: 'a status is a number, a class such as "2xx" or a range such as "200-204"',
  }),
]);

const SECRET_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
const SECRET_REFERENCE = /^(?:env:[a-zA-Z_][a-zA-Z0-9_]*|file:\/.+)$/;

const Secrets = z
  .record(
    z.string(),
    z.string().max(LIMITS.expressionLength).regex(SECRET_REFERENCE, {
      error:
        'a secret is a reference such as "env:HITZERO_SECRET_TOKEN" or "file:/run/secrets/api_token", never a value',
    }),
  )
  .superRefine((secrets, context) => {
    for (const name of Object.keys(secrets)) {
      if (SECRET_NAME.test(name)) continue;
      const message = "the name of a secret is made of letters, digits and _";
      context.addIssue({ code: "custom", path: [name], message });
    }
  });

export const HttpConfig = z.object({
  url: z
    .string()
    .min(1)
    .max(LIMITS.expressionLength)
    .describe("Address, http or https; may hold templates {{ CEL }}, whose values are percent-encoded."),
  method: z
    .enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    .default(DEFAULTS.httpMethod)
    .describe("HTTP method."),
  headers: Headers.default({}).describe("Headers; values may hold templates."),
  body: z
    .unknown()
    .optional()
    .describe(
      "Body: text if it is a string, else JSON (a form if content-type says so). Strings in it may hold templates; one that is a single template keeps the type of its value.",
    ),
  query: z
    .record(z.string(), z.union([QueryValue, z.array(QueryValue)]))
    .default({})
    .describe("Query parameters, a list for a repeated one; values may hold templates."),
  expect_status: z
    .union([Status, z.array(Status).min(1)])
    .default(DEFAULTS.httpExpectStatus)
    .describe('Statuses that count as success: numbers, classes such as "2xx", ranges such as "200-204".'),
  secrets: Secrets.default({}).describe(
    "Secrets that templates see as secrets.NAME, each by reference: env:HITZERO_SECRET_NAME or file:/run/secrets/name, read by the worker, whose HITZERO_SECRETS_ALLOW may list others.",
  ),
  follow_redirects: z
    .boolean()
    .default(DEFAULTS.httpFollowRedirects)
    .describe("Follow up to five redirects; one whose status is expected is never followed."),
  response: z
    .enum(["auto", "json", "text", "base64"])
    .default(DEFAULTS.httpResponse)
    .describe("What the body is read as; auto goes by the answer's content-type."),
  include_set_cookie: z.boolean().default(false).describe("Keep set-cookie among the headers of the output."),
});

/** An `http` node's config as it stands in an IR. */
export type HttpConfig = z.output<typeof HttpConfig>;
