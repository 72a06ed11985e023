import {
  formatIpv4,
  formatIpv6,
  formatMac,
  isGroup,
  isZeroMac,
  parseMac as macOf,
  parseIpv4,
  parseIpv6,
} from '../../wire/address.ts';

export const AF_INET = 2;
export const AF_INET6 = 10;

/** An address as the kernel takes it. */
export interface InetAddress {
  /** AF_INET or AF_INET6. */
  family: number;
  /** 4 or 16 bytes in network order. */
  bytes: Uint8Array;
  /** Length of the prefix in bits; that of the whole address when none was given. */
  prefix: number;
}

/**
 * `172.17.0.2`, `172.17.0.2/16`, `fd00::2/64`. Throws a one-line Error that says what the address was for.
 */
export function parseInet(text: string, what = 'address'): InetAddress {
  const slash = text.indexOf('/');
  const address = slash < 0 ? text : text.slice(0, slash);
  const ipv4 = parseIpv4(address);
  const words = ipv4 === undefined ? parseIpv6(address) : [ipv4];
  if (words === undefined) {
    throw new Error(`${what} '${text}' is no IP address; write it as 172.17.0.2/16 or fd00::2/64`);
  }
  const bytes = new Uint8Array(4 * words.length);
  const view = new DataView(bytes.buffer);
  words.forEach((word, i) => {
    view.setInt32(4 * i, word);
  });
  const longest = 8 * bytes.length;
  const prefixText = slash < 0 ? `${longest}` : text.slice(slash + 1);
  const prefix = Number(prefixText);
  if (!/^(0|[1-9]\d{0,2})$/.test(prefixText) || prefix > longest) {
    throw new Error(`${what} '${text}' has an impossible prefix length; give 0 to ${longest}`);
  }
  return { family: ipv4 === undefined ? AF_INET6 : AF_INET, bytes, prefix };
}

/** The text of 4 or 16 address bytes, '' for any other number of bytes. */
export function formatInet(bytes: Uint8Array | undefined): string {
  if (bytes === undefined) return '';
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length === 4) return formatIpv4(view.getInt32(0));
  if (bytes.length !== 16) return '';
  return formatIpv6(view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12));
}

/** Whether two addresses are in one subnet of `prefix` bits. */
export function sameSubnet(a: Uint8Array, b: Uint8Array, prefix: number): boolean {
  if (a.length !== b.length) return false;
  const whole = prefix >> 3;
  for (let i = 0; i < whole; i++) if (a[i] !== b[i]) return false;
  const rest = prefix & 7;
  return rest === 0 || ((a[whole]! ^ b[whole]!) & (0xff << (8 - rest)) & 0xff) === 0;
}

/** The six bytes of an interface's MAC. Throws a one-line Error for other text, group addresses and zero. */
export function parseMac(text: string): Uint8Array {
  const mac = macOf(text);
  if (mac === undefined) throw new Error(`'${text}' is no MAC address; write it as 02:42:ac:11:00:02`);
  const { hi, lo } = mac;
  if (isGroup(hi))
    throw new Error(`MAC ${text} is a group address; the first byte of an interface's is even`);
  if (isZeroMac(hi, lo)) throw new Error(`MAC ${text} cannot be an interface's`);
  const bytes = new Uint8Array(6);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, hi);
  view.setInt32(2, lo);
  return bytes;
}

/** The text of six bytes, '' for any other number of bytes (tunnels have other addresses). */
export function macText(bytes: Uint8Array | undefined): string {
  if (bytes === undefined || bytes.length !== 6) return '';
  const view = new DataView(bytes.buffer, bytes.byteOffset, 6);
  return formatMac(view.getUint16(0), view.getInt32(2));
}
