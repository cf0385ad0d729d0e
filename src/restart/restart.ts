// What a server does about restarts, in order: takes sockets over, says that it is ready, offers
// its own to the next process, and says that it stops.
import type { Binding } from "../native/binding.ts";
import { stackOf } from "../warnings.ts";
import { type HandoverListener, Offer, type OfferEvents, Takeover } from "./handover.ts";
import type { RestartSettings } from "./options.ts";
import { fillIn, makeNotifier, type Notifier } from "./systemd.ts";

const OVER_MS = 10_000;
const ASKED_MAX = 3;

// Servers of this thread that are to be handed over, and whether it ends behind the last of them.
const open = new Set<Restart>();
let exits = false;

/** The server as its restart sees it. */
export interface RestartedServer {
  readonly number: number; // of the native functions
  readonly closed: Promise<unknown>;
  /** Another process serves: stops accepting at once, leaves files of unix sockets alone. */
  handedOver(timeout: number, wait: number): void;
  warn(message: string): void;
}

/** The part of a server's life that other processes see. */
export class Restart {
  readonly listeners: readonly HandoverListener[];
  readonly #native: Binding;
  readonly #settings: RestartSettings;
  readonly #notifier: Notifier | undefined;
  #takeover: Takeover | undefined;
  #isTheirs: boolean; // the process before serves, too, and goes on when we fail
  #offer: Offer | undefined = undefined;
  #isClosing = false;
  #keepsPaths = false;

  private constructor(
    native: Binding,
    settings: RestartSettings,
    listeners: readonly HandoverListener[],
    takeover: Takeover | undefined,
  ) {
    this.#native = native;
    this.#settings = settings;
    this.listeners = listeners;
    this.#takeover = takeover;
    this.#isTheirs = takeover !== undefined;
    this.#notifier = settings.notifies ? makeNotifier(native, this.#isTheirs) : undefined;
  }

  /**
   * Finds the sockets that exist already.
   *
   * @throws {MillraceError} ERR_MILLRACE_HAND_OVER, ERR_MILLRACE_LISTEN_FAILED
   */
  static async begin(
    native: Binding,
    settings: RestartSettings,
    listeners: readonly HandoverListener[],
  ): Promise<Restart> {
    const path = settings.handover?.path;
    const takeover = path === undefined ? undefined : await Takeover.begin(native, path);
    try {
      const found = fillIn(takeover?.fillIn(listeners) ?? listeners);
      return new Restart(native, settings, found, takeover);
    } catch (error) {
      takeover?.abandon();
      throw error;
    }
  }

  /** The server could not be opened. */
  abandon(): void {
    this.#takeover?.abandon();
  }

  /**
   * The server listens. Resolves when the process before has stopped accepting.
   *
   * @throws {MillraceError} ERR_MILLRACE_HAND_OVER when nobody can meet at the path
   */
  async opened(server: RestartedServer): Promise<void> {
    if (this.#isClosing) return;
    if (this.#settings.handover !== undefined) this.#exitBehind(server);
    if (this.#takeover === undefined) {
      await this.#offerTo(server);
    } else {
      await this.#takeOver(this.#takeover, server);
    }
    if (!this.#isClosing) this.#notifier?.ready(this.#takeover !== undefined);
  }

  #exitBehind(server: RestartedServer): void {
    open.add(this);
    void server.closed.then(() => {
      open.delete(this);
      if (exits && open.size === 0) process.exit();
    });
  }

  // From "ready" on there is no way back: what fails now is told, not thrown.
  async #takeOver(takeover: Takeover, server: RestartedServer): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<"late">((resolve) => {
      timer = setTimeout(resolve, OVER_MS, "late");
    });
    const over = this.#finish(takeover).then(() => this.#offerTo(server));
    const told = over.catch((error: unknown) => server.warn(String(error)));
    if ((await Promise.race([told, late])) === "late") {
      this.#takeover?.unref();
      server.warn(`process ${takeover.pid}, which handed its sockets over, does not leave`);
    }
    clearTimeout(timer);
  }

  // A process that did not wait for us until now serves on, and has to be asked again.
  async #finish(first: Takeover): Promise<void> {
    let takeover: Takeover | undefined = first;
    for (let asked = 0; takeover !== undefined && asked < ASKED_MAX; asked += 1) {
      this.#takeover = takeover;
      this.#isTheirs = false;
      if ((await takeover.finish()) || this.#isClosing) return;
      this.#isTheirs = true;
      takeover = await Takeover.begin(this.#native, this.#settings.handover?.path as string);
      if (this.#isClosing) takeover?.abandon();
      if (this.#isClosing) return;
    }
    takeover?.abandon();
    this.#isTheirs = false;
  }

  async #offerTo(server: RestartedServer): Promise<void> {
    const { handover } = this.#settings;
    if (handover === undefined || this.#isClosing) return;
    const { exit, onHandedOver, path, timeout, wait } = handover;
    const events: OfferEvents = {
      onBegin: () => this.#notifier?.reloading(),
      onFailed: (why) => {
        server.warn(`nobody has taken over: ${why}`);
        this.#notifier?.ready(false);
      },
      onTaken: () => {
        exits ||= exit;
        server.handedOver(timeout, wait);
      },
      onOver: (pid) => {
        // It may be async, too.
        new Promise((resolve) => resolve(onHandedOver(pid))).catch((error: unknown) =>
          server.warn(`handover.onHandedOver threw: ${stackOf(error)}`),
        );
      },
    };
    const { listeners } = this;
    const offer = await Offer.open(this.#native, server.number, path, listeners, events);
    if (this.#isClosing) offer.close();
    else this.#offer = offer;
  }

  /**
   * The server closes: for good, or because another process serves.
   *
   * @returns whether another process serves at the paths of its unix sockets
   */
  closing(isHandedOver: boolean): boolean {
    if (this.#isClosing) return this.#keepsPaths;
    this.#isClosing = true;
    const isReplaced = isHandedOver || this.#offer?.hasTaker === true;
    this.#keepsPaths = isReplaced || this.#isTheirs;
    this.#offer?.close();
    this.#takeover?.abandon();
    this.#notifier?.stopping(isReplaced);
    return this.#keepsPaths;
  }
}
