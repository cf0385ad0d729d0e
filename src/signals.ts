// Signals of the process that close servers: one listener for each signal, however many there are.

interface Waiting {
  readonly duties: Set<() => void>;
  readonly listener: () => void;
}

const signals = new Map<NodeJS.Signals, Waiting>();

/** Calls `duty` at the next such signal; the function it gives takes that back. */
export function atSignal(name: NodeJS.Signals, duty: () => void): () => void {
  const { duties } = signals.get(name) ?? listenTo(name);
  duties.add(duty);
  return () => {
    if (duties.delete(duty) && duties.size === 0) leave(name);
  };
}

function listenTo(name: NodeJS.Signals): Waiting {
  const duties = new Set<() => void>();
  const listener = (): void => {
    const due = [...duties];
    duties.clear();
    leave(name); // a second signal has its usual effect
    for (const duty of due) duty();
  };
  const waiting = { duties, listener };
  process.on(name, listener); // throws where the system does not know the signal
  signals.set(name, waiting);
  return waiting;
}

function leave(name: NodeJS.Signals): void {
  const waiting = signals.get(name);
  signals.delete(name);
  if (waiting !== undefined) process.removeListener(name, waiting.listener);
}
