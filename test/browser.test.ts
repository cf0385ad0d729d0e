// The demo in a real browser: the page fills in live metrics, its form signs the guest book, and
// its script talks to the JSON API.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { Browser, browserPath } from "./support/browser.ts";
import { type Child, node } from "./support/child.ts";

if (browserPath === undefined) {
  process.stderr.write("browser.test.ts is skipped: no chromium here (Debian: chromium)\n");
}

async function demo(loops: string): Promise<{ child: Child; url: string }> {
  const child = node("examples/demo/server.mjs", { PORT: "0", LOOPS: loops, UNIX_PATH: "" });
  onTestFinished(async () => {
    await child.stop();
  });
  const [, url = ""] = await child.said(/ on (http:\S+)/);
  return { child, url };
}

describe.runIf(browserPath !== undefined)("in Chromium", () => {
  let browser: Browser;
  beforeAll(() => {
    browser = new Browser();
  });
  afterAll(() => browser.close());

  it.each(["0", "1"])("the demo works with LOOPS=%s", async (loops) => {
    const { child, url } = await demo(loops);
    const page = await browser.open(url);
    const host = loops === "0" ? "inline" : "1 threaded loop";
    await page.shows(
      "the metrics are filled in",
      `document.querySelector("#metrics dd")?.textContent.startsWith(${JSON.stringify(host)})`,
    );
    const requests = `Number([...document.querySelectorAll("#metrics dt")]
      .find((dt) => dt.textContent === "Requests").nextSibling.textContent)`;
    const first = (await page.value(requests)) as number;
    expect(first).toBeGreaterThan(1);
    await page.shows("the metrics are live", `${requests} > ${first}`);

    await page.value(`
      document.querySelector("form input").value = "Ada <b>& Co</b> é";
      document.querySelector("form button").click();`);
    await page.shows(
      "the guest is listed",
      `document.querySelector("#guests li")?.textContent.startsWith("Ada <b>& Co</b> é, ")`,
    );
    expect(await page.value("location.href")).toBe(`${url}/`); // sent back by the 303

    await page.value(`document.querySelector("#send").click()`);
    const answer = '200 {"youSent":{"grain":"rye","sacks":3}}';
    await page.shows(
      "the JSON API has answered",
      `document.querySelector("#answer").textContent === ${JSON.stringify(answer)}`,
    );
    expect(await child.stop()).toEqual({ code: 0, signal: null });
  });
});
