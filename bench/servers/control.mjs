// What every server under measurement does besides serving: says its port, then answers one line
// of JSON per line of standard input. Runs under Node and under Bun, and ends with its input.

const v8 = globalThis.Bun === undefined ? await import("node:v8") : undefined;

/**
 * @param {number} port
 * @param {string} version of the runtime or framework
 * @param {() => object} [statistics] further numbers for "memory"
 * @param {Record<string, () => Promise<object>>} [more] further lines and what answers them
 */
export function announce(port, version, statistics = () => ({}), more = {}) {
  const answers = {
    // getrusage of the process: user and system time of all its threads, in µs.
    cpu: () => {
      const { user, system } = process.cpuUsage();
      return { user, system };
    },
    memory: () => {
      collect();
      return { ...statistics(), young_kib: youngKib() };
    },
    ...more,
  };
  const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  const answer = (line) => {
    const said = answers[line]();
    if (said instanceof Promise) said.then(say);
    else say(said);
  };
  let input = "";
  process.stdin.setEncoding("utf8");
  process.stdin.on("data", (text) => {
    const lines = (input + text).split("\n");
    input = lines.pop();
    for (const line of lines) answer(line);
  });
  process.stdin.on("end", () => process.exit(0));
  say({ port, version });
}

// What V8 holds for new objects. It grows with what is allocated at a time, up to a bound, and
// shrinks when it pleases: a megabyte more or less is not of the connections that are counted.
function youngKib() {
  const spaces = v8?.getHeapSpaceStatistics() ?? [];
  const young = spaces.filter(({ space_name }) => space_name.startsWith("new_"));
  return young.reduce((sum, { physical_space_size }) => sum + physical_space_size / 1024, 0);
}

// Twice, because what the first pass finalises the second one frees.
function collect() {
  for (let pass = 0; pass < 2; pass += 1) {
    if (globalThis.Bun !== undefined) globalThis.Bun.gc(true);
    else globalThis.gc?.();
  }
}
