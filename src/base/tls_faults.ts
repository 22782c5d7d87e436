/** Why no encrypted connection to a server came about, in words. For Redis and Postgres alike. */

export interface TlsFault {
  /** Continues "Redis at HOST:PORT …". */
  what: string;
  hint: string;
}

const OWN_AUTHORITY =
  "Give Node the certificate of its authority: NODE_EXTRA_CA_CERTS=/path/to/ca.pem in the environment.";

const CAUSES: readonly (readonly [pattern: RegExp, what: string, hint: string])[] = [
  [
    /SELF_SIGNED_CERT|self[- ]signed certificate/i,
    "shows a certificate that is signed by itself or by an authority that this machine does not know",
    OWN_AUTHORITY,
  ],
  [
    /UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT|unable to (verify the first|get (local )?issuer) certificate/i,
    "shows a certificate of an authority that this machine does not know",
    OWN_AUTHORITY,
  ],
  [
    /CERT_HAS_EXPIRED|certificate has expired/i,
    "shows a certificate that has expired",
    "Renew the server's certificate; check this machine's clock if it has not expired.",
  ],
  [
    /CERT_NOT_YET_VALID|certificate is not yet valid/i,
    "shows a certificate that is not valid yet",
    "Check this machine's clock.",
  ],
  [
    /ERR_TLS_CERT_ALTNAME_INVALID|does not match certificate's altnames/i,
    "shows a certificate for another host name",
    "Write the host in the URL as the certificate names it.",
  ],
  [
    /wrong version number|WRONG_VERSION_NUMBER|packet length too long|PACKET_LENGTH_TOO_LONG/i,
    "does not speak TLS",
    "Write the URL without TLS, or turn TLS on at the server.",
  ],
  [
    /ERR_SSL_|EPROTO|SSL alert|tlsv1 alert|sslv3 alert/i,
    "broke off the TLS handshake",
    "Compare the TLS versions and ciphers of both sides; the server may ask for a certificate of the client.",
  ],
];

/** Undefined: the error has nothing to do with TLS. */
export function tlsFault(error: unknown): TlsFault | undefined {
  if (!(error instanceof Error)) return undefined;
  const text = `${(error as { code?: unknown }).code ?? ""} ${error.message}`;
  const cause = CAUSES.find(([pattern]) => pattern.test(text));
  return cause && { what: cause[1], hint: cause[2] };
}
