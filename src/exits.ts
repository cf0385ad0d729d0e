// What is still to be done when the process, or the worker, ends: nothing asynchronous happens any
// more then. A worker that is terminated from outside does nothing at all.

const duties = new Set<() => void>();

/** Calls `duty` at the end of the process or worker; the function it gives takes that back. */
export function atExit(duty: () => void): () => void {
  if (duties.size === 0) process.on("exit", fulfil);
  duties.add(duty);
  return () => {
    duties.delete(duty);
    if (duties.size === 0) process.removeListener("exit", fulfil);
  };
}

function fulfil(): void {
  // The last first: what it writes goes to those that were there before.
  for (const duty of [...duties].reverse()) {
    try {
      duty();
    } catch {
      // Nobody is left to be told, and the others have their turn.
    }
  }
}
