/**
 * Which addresses an `http` node may connect to. Workflows, and the data that fill their templates, must not reach what only
 * the worker can: its own machine, its network, its cloud's metadata. Names are nothing to go by; addresses are judged, at the
 * moment of connecting, so that a name whose answer changes is judged by the answer that is used.
 */
import { lookup as systemLookup } from "node:dns/promises";
import { isIP, type LookupFunction } from "node:net";
import { AttemptError } from "./errors.ts";

const SETTING = "HITZERO_HTTP_ALLOW_PRIVATE";

/** IPv4 addresses as IPv6 writes them (::ffff:a.b.c.d), so that one form serves both. */
type AddressBytes = readonly number[];

interface Network {
  bytes: AddressBytes;
  /** Leading bits that count, of 128. */
  bits: number;
}

/** What HITZERO_HTTP_ALLOW_PRIVATE says. */
export interface AddressPolicy {
  all: boolean;
  /** Names as URLs hold them. */
  hosts: ReadonlySet<string>;
  networks: readonly Network[];
}

/** Answers a name with its addresses. */
export type Resolver = (host: string) => Promise<{ address: string; family: number }[]>;

/** The system's resolver. */
export const resolveWithSystem: Resolver = (host) => systemLookup(host, { all: true });

/** IANA's special-purpose registry: what is not globally reachable, and relays that lead back to it. */
const RESERVED_V4 = networks(
  "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 " +
    "192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 " +
    // A public address at which one cloud answers its own machines.
    "168.63.129.16/32",
);
/** Of IPv6 only this is handed out for public use ... */
const GLOBAL_V6 = networks("2000::/3");
/** ... but for these parts of it: protocols (Teredo among them) and documentation. */
const RESERVED_V6 = networks("2001::/23 2001:db8::/32 3fff::/20");
const MAPPED_V4 = networks("::ffff:0:0/96");
/** Networks whose addresses stand for an IPv4 address: where its four bytes begin. */
const TRANSLATED_V4: readonly { network: readonly Network[]; offset: number }[] = [
  { network: networks("64:ff9b::/96"), offset: 12 },
  { network: networks("2002::/16"), offset: 2 },
];

/**
 * Reads the setting: nothing, `true`, or a comma list of hosts, addresses and networks (CIDR).
 * @throws AttemptError BAD_SETTING
 */
export function parseAddressPolicy(setting: string | undefined): AddressPolicy {
  const text = (setting ?? "").trim();
  if (text === "" || text === "false") return { all: false, hosts: new Set(), networks: [] };
  if (text === "true") return { all: true, hosts: new Set(), networks: [] };
  const hosts = new Set<string>();
  const allowed: Network[] = [];
  for (const entry of text.split(",").map((part) => part.trim())) {
    if (entry === "") continue;
    const network = parseNetwork(entry.replace(/^\[(.*)\]$/, "$1"));
    if (network !== undefined) allowed.push(network);
    else hosts.add(hostOf(entry));
  }
  return { all: false, hosts, networks: allowed };
}

/** Is this address reachable from anywhere, and nobody's inner network? What is no address is not. */
export function isPublicAddress(address: string): boolean {
  const bytes = parseAddress(address);
  return bytes !== undefined && isPublic(bytes);
}

/** May a node connect to this address for this host? */
export function mayConnect(policy: AddressPolicy, host: string, address: string): boolean {
  if (policy.all) return true;
  const bytes = parseAddress(address);
  if (bytes === undefined) return false;
  return policy.hosts.has(host.toLowerCase()) || isPublic(bytes) || isIn(bytes, policy.networks);
}

/**
 * Judges a host that is itself an address: those are connected to without asking a resolver.
 * @param host as `URL.hostname` has it, where every odd spelling of an IPv4 address has become the common one.
 * @throws AttemptError HTTP_ADDRESS_REFUSED
 */
export function checkHost(policy: AddressPolicy, host: string): void {
  const address = host.replace(/^\[|\]$/g, "");
  if (isIP(address) !== 0 && !mayConnect(policy, host, address)) throw refused(host);
}

/** The look-up of a connection: it answers with none but allowed addresses, and those are what is connected to. */
export function guardedLookup(policy: AddressPolicy, resolver: Resolver): LookupFunction {
  return (host, options, callback) => {
    resolver(host).then(
      (answers) => {
        const allowed = answers.filter(({ address }) => mayConnect(policy, host, address));
        const [first] = allowed;
        if (first === undefined) callback(refused(host), "", 0);
        else if (options.all) callback(null, allowed);
        else callback(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, "", 0),
    );
  };
}

/** The failure of whoever would connect to a host at an address that is not allowed. */
export function refused(host: string): AttemptError {
  return new AttemptError("HTTP_ADDRESS_REFUSED", `${host} is not on the public internet`, {
    hint: `Private, local and reserved addresses are refused; the worker's ${SETTING} allows them: true, or a list of hosts and networks.`,
    retryable: false,
  });
}

function isPublic(bytes: AddressBytes): boolean {
  if (isIn(bytes, MAPPED_V4)) return !isIn(bytes, RESERVED_V4);
  for (const { network, offset } of TRANSLATED_V4) {
    if (isIn(bytes, network)) return isPublic(mapped(bytes.slice(offset, offset + 4)));
  }
  return isIn(bytes, GLOBAL_V6) && !isIn(bytes, RESERVED_V6);
}

function isIn(bytes: AddressBytes, ranges: readonly Network[]): boolean {
  return ranges.some((range) => {
    for (let bit = 0; bit < range.bits; bit += 8) {
      const counted = Math.min(8, range.bits - bit);
      const mask = (0xff << (8 - counted)) & 0xff;
      const index = bit / 8;
      if (((bytes[index] as number) & mask) !== ((range.bytes[index] as number) & mask)) return false;
    }
    return true;
  });
}

function networks(list: string): Network[] {
  return list.split(" ").map((entry) => parseNetwork(entry) as Network);
}

/** An address or a network in CIDR notation; undefined: neither. */
function parseNetwork(text: string): Network | undefined {
  const [address, length, ...rest] = text.split("/") as [string, ...string[]];
  const bytes = parseAddress(address);
  if (bytes === undefined || rest.length > 0) return undefined;
  const width = isIP(address) === 4 ? 32 : 128;
  if (length === undefined) return { bytes, bits: 128 };
  if (!/^\d{1,3}$/.test(length) || Number(length) > width) return undefined;
  return { bytes, bits: 128 - width + Number(length) };
}

/** The bytes of an address in dotted or colon notation, a zone (`%eth0`) left aside. */
function parseAddress(text: string): AddressBytes | undefined {
  const address = text.split("%")[0] as string;
  const family = isIP(address);
  if (family === 4) return mapped(address.split(".").map(Number));
  return family === 6 ? parseV6(address) : undefined;
}

function mapped(bytes: AddressBytes): AddressBytes {
  return [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...bytes];
}

function parseV6(address: string): AddressBytes {
  const [head, tail] = address.split("::") as [string, string | undefined];
  const front = groupsOf(head);
  const back = groupsOf(tail ?? "");
  const gap = tail === undefined ? 0 : 16 - front.length - back.length;
  return [...front, ...new Array<number>(gap).fill(0), ...back];
}

function groupsOf(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

/** A host's name as URLs hold it. */
function hostOf(entry: string): string {
  const url = `http://${entry}/`;
  if (!/[/:?#@\\]/.test(entry) && URL.canParse(url)) return new URL(url).hostname;
  throw new AttemptError(
    "BAD_SETTING",
    `${SETTING}: ${JSON.stringify(entry)} is no host, address or network`,
    {
      hint: "Write true, or a comma list such as: localhost,10.0.0.0/8,::1",
      retryable: false,
    },
  );
}
