// Reads what a Connected event tells of a PROXY header: native/core/model/proxy_body.h has the
// layout, the protocol's section 2.2 the types. The native side has checked it all; what would not
// fit all the same is left out.
import type { Address } from "../api.ts";
import type { ProxyDetails, ProxySSL } from "./api.ts";

const FIXED = 8;
const TLV_HEAD = 3;
const ALPN = 0x01;
const AUTHORITY = 0x02;
const UNIQUE_ID = 0x05;
const SSL = 0x20;
const SSL_HEAD = 5;
const CLIENT_SSL = 0x01;
const CLIENT_CERTIFICATES = 0x02 | 0x04; // of this connection, of this session
const SSL_TEXTS = {
  version: 0x21,
  commonName: 0x22,
  cipher: 0x23,
  signature: 0x24,
  key: 0x25,
} as const;

/** An address as it stands in events: unix sockets have a path, or nothing. */
export function addressOf(text: string, port: number): Address {
  if (/^(?:$|[/\0])/.test(text)) return { family: "unix", address: text, port: 0 };
  return { family: text.includes(":") ? "IPv6" : "IPv4", address: text, port };
}

/**
 * The body of a Connected event; undefined when it has none. `own` is the listener's address, where
 * the connection itself leads: headers that are LOCAL or UNKNOWN say nothing else.
 */
export function proxyOf(body: Uint8Array, own: Address): ProxyDetails | undefined {
  if (body.length < FIXED) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const destinationEnd = FIXED + view.getUint8(2);
  const viaEnd = destinationEnd + view.getUint8(3);
  const destination = text(body.subarray(FIXED, destinationEnd));
  const tlvs = tlvsOf(body.subarray(viaEnd));
  const [authority, alpn] = [tlvs.get(AUTHORITY), tlvs.get(ALPN)];
  const [uniqueId, ssl] = [tlvs.get(UNIQUE_ID), sslOf(tlvs.get(SSL))];
  return {
    version: view.getUint8(0) === 1 ? 1 : 2,
    local: view.getUint8(1) === 1,
    destination: destination === "" ? own : addressOf(destination, view.getUint16(4, true)),
    via: addressOf(text(body.subarray(destinationEnd, viaEnd)), view.getUint16(6, true)),
    tlvs,
    ...(authority === undefined ? {} : { authority: text(authority) }),
    ...(alpn === undefined ? {} : { alpn: text(alpn) }),
    ...(uniqueId === undefined ? {} : { uniqueId }),
    ...(ssl === undefined ? {} : { ssl }),
  };
}

function tlvsOf(bytes: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const tlvs = new Map<number, Uint8Array>();
  let at = 0;
  while (at + TLV_HEAD <= bytes.length) {
    const length = ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
    const end = at + TLV_HEAD + length;
    if (end > bytes.length) break;
    // A copy: who keeps one value should not keep them all.
    tlvs.set(bytes[at] as number, bytes.slice(at + TLV_HEAD, end));
    at = end;
  }
  return tlvs;
}

function sslOf(value: Uint8Array | undefined): ProxySSL | undefined {
  if (value === undefined || value.length < SSL_HEAD) return undefined;
  const client = value[0] as number;
  const hasCertificate = (client & CLIENT_CERTIFICATES) !== 0;
  const within = tlvsOf(value.subarray(SSL_HEAD));
  const texts: { -readonly [Name in keyof typeof SSL_TEXTS]?: string } = {};
  for (const [name, type] of Object.entries(SSL_TEXTS)) {
    const found = within.get(type);
    if (found !== undefined) texts[name as keyof typeof SSL_TEXTS] = text(found);
  }
  const isVerified = hasCertificate && value.subarray(1, SSL_HEAD).every((byte) => byte === 0);
  return { isEncrypted: (client & CLIENT_SSL) !== 0, hasCertificate, isVerified, ...texts };
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
}
