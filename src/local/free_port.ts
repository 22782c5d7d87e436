/** A port for a server that is about to start. */

import { createServer } from "node:net";

/**
 * A port of the loopback that is free now: `preferred` if it is, else one the system picks. Another process may take it
 * before the server binds it, so who starts a server tries again with the next port.
 */
export async function freePort(preferred?: number): Promise<number> {
  if (preferred !== undefined) {
    const port = await bindOnce(preferred).catch(() => undefined);
    if (port !== undefined) return port;
  }
  return bindOnce(0);
}

function bindOnce(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => {
        if (address !== null && typeof address === "object") resolve(address.port);
        else reject(new Error("the system gave no port"));
      });
    });
  });
}
