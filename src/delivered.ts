// res.delivered: what becomes of an answer after it was given.
import { MillraceError } from "./errors.ts";
import type { NativeRes } from "./response.ts";
import type { Service } from "./service.ts";

// No field of each response: few are asked about.
const asked = new WeakMap<NativeRes, Promise<boolean>>();

/** @throws {MillraceError} ERR_MILLRACE_ALREADY_ENDED: the loop may have forgotten the exchange */
export function whenDelivered(service: Service, res: NativeRes): Promise<boolean> {
  const before = asked.get(res);
  if (before !== undefined) return before;
  const delivered = ask(service, res);
  asked.set(res, delivered);
  return delivered;
}

function ask(service: Service, res: NativeRes): Promise<boolean> {
  const { generation, handle } = res;
  if (res.state === "ended") {
    const what = "delivered is to be asked for before the response ends";
    throw new MillraceError("ERR_MILLRACE_ALREADY_ENDED", `${res.req.where}: ${what}`);
  }
  if (res.isAborted || !service.native.tell(handle, generation)) return Promise.resolve(false);
  return new Promise((resolve) => {
    // What the loop has said in place of the handler is not its answer.
    const settle = (isWhole: boolean): void => resolve(isWhole && res.state === "ended");
    service.deliveries.set(keyOf(handle, generation), settle);
  });
}

/** The loop knows. */
export function settleDelivery(
  { deliveries }: Service,
  handle: number,
  generation: number,
  isWhole: boolean,
): void {
  const key = keyOf(handle, generation);
  deliveries.get(key)?.(isWhole);
  deliveries.delete(key);
}

/** No loop is there any more that could know. */
export function endDeliveries({ deliveries }: Service): void {
  for (const settle of deliveries.values()) settle(false);
  deliveries.clear();
}

function keyOf(handle: number, generation: number): string {
  return `${handle} ${generation}`;
}
