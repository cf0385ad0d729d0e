// A bound on a wait.

const LATE: unique symbol = Symbol("late");

/**
 * What `promise` gives, or what `late` makes of it when that takes longer than `ms`. Infinity: no
 * bound. At 0 or below only what is here already is in time.
 */
export async function orLate<T, L>(promise: Promise<T>, ms: number, late: () => L): Promise<T | L> {
  if (ms === Infinity) return promise;
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<typeof LATE>((resolve) => {
    if (ms > 0) timer = setTimeout(resolve, ms, LATE);
    else resolve(LATE);
  });
  try {
    const first = await Promise.race([promise, timeout]);
    return first === LATE ? late() : first;
  } finally {
    clearTimeout(timer);
  }
}
