// What users are handed of a connection: types only.
import type { Address } from "../api.ts";
import type { CAUSES } from "../native/tables.ts";
import type { ConnectionData } from "./data.ts";

/** What `data` of connections is unless a type argument says otherwise. */
export type DataOfConnections = [keyof ConnectionData] extends [never] ? unknown : ConnectionData;

/** Why a connection ended; docs/operations.md says when each of them is given. */
export type CloseCauseName = (typeof CAUSES)[number]["name"];

/** What a TLS-speaking proxy says about the client's connection (PROXY protocol, PP2_TYPE_SSL). */
export interface ProxySSL {
  /** Whether the client spoke TLS. */
  readonly isEncrypted: boolean;
  /** Whether it gave a certificate, on this connection or in this session. */
  readonly hasCertificate: boolean;
  /** Whether there was a certificate and the proxy accepted it. */
  readonly isVerified: boolean;
  /** "TLSv1.3" */
  readonly version?: string;
  /** Common name of the client's certificate. */
  readonly commonName?: string;
  readonly cipher?: string;
  /** Algorithm that the certificate is signed with. */
  readonly signature?: string;
  /** Algorithm of its key. */
  readonly key?: string;
}

/** What the header of the PROXY protocol said. */
export interface ProxyDetails {
  readonly version: 1 | 2;
  /** The proxy speaks for itself, as its health checks do: the addresses are its own. */
  readonly local: boolean;
  /** Where the client connected to; the listener's own address where the header has none. */
  readonly destination: Address;
  /** The proxy's own end of the connection. */
  readonly via: Address;
  /** Values by type; the last one where a type comes twice. */
  readonly tlvs: ReadonlyMap<number, Uint8Array>;
  /** The host name that the client asked for (SNI). */
  readonly authority?: string;
  /** The application protocol that was agreed on. */
  readonly alpn?: string;
  /** The connection's name at the proxy. */
  readonly uniqueId?: Uint8Array;
  readonly ssl?: ProxySSL;
}

/** How `connection.close()` closes. */
export interface ConnectionCloseOptions {
  /**
   * Resets the connection and drops what is not written, instead of ending behind it.
   * @default false
   */
  readonly reset?: boolean;
}

/**
 * One accepted connection: the same object for all of its requests and for the WebSocket that it
 * may become. What is asked of one that is over does nothing, and says so.
 */
export interface Connection<D = DataOfConnections> {
  /** Whether it is over. */
  readonly closed: boolean;
  /**
   * What the option `connectionData` made, or undefined; the application's own. Its type is that of
   * the interface {@link ConnectionData}, which programs merge theirs into.
   */
  data: D;
  /** 32 bits of the application's own, 0 at first; -1 when the connection is over. */
  readonly flags: number;
  /**
   * "loop.index.generation", as the log has it. Unique among the open connections of a thread, and
   * used again only after 65 536 others had the same place.
   */
  readonly id: string;
  /** Where the server was reached. */
  readonly localAddress: Address;
  /** What a header of the PROXY protocol said; undefined when there was none. */
  readonly proxy: ProxyDetails | undefined;
  /** The peer's end; with the PROXY protocol that of the client. */
  readonly remoteAddress: Address;

  /** Clears those bits. @returns false when the connection is over */
  clearFlags(bits: number): boolean;
  /**
   * Ends the connection behind what is written, or with a reset. A second call does nothing.
   * @param cause - for the log and `onClose`. @default "CloseCalled"
   * @param detail - likewise
   * @returns false when it is over, or was closed before
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
   */
  close(cause?: CloseCauseName, detail?: string, options?: ConnectionCloseOptions): boolean;
  /** Sets those bits and leaves the others. @returns false when the connection is over */
  setFlags(bits: number): boolean;
}

/** The options of `serve()` about connections. */
export interface ConnectionHooks<D extends DataOfConnections = DataOfConnections> {
  /** Makes `data` of a connection, when somebody first asks for the connection. */
  readonly connectionData?: () => D;
  /**
   * The connection is over. Called once for each that was accepted, after its `onConnect`, also
   * when the server closes or the process ends; not when a worker is terminated from outside.
   * Handlers that wait for something may still be at work.
   * @param detail - the code of what the peer did wrong, errno, the WebSocket's close code, or what
   * `close()` was given
   */
  readonly onClose?: (connection: Connection<D>, cause: CloseCauseName, detail: string) => unknown;
  /** A connection was accepted; called before anything else of it. */
  readonly onConnect?: (connection: Connection<D>) => unknown;
}
