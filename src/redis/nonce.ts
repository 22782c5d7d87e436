/** Nonces of calls and activations. */
import { randomBytes } from "node:crypto";

/** Of this process; a number tells its nonces apart. */
const NONCE_BASE = randomBytes(8).toString("base64url");
let nonces = 0;

/** A nonce that tells this call from every other, of any process. */
export function newNonce(): string {
  nonces += 1;
  return NONCE_BASE + nonces.toString(36);
}
