// Requests and answers of SCGI as bytes, in latin1 texts.

/** A request: variables behind CONTENT_LENGTH and SCGI, then the body. */
export function scgiRequest(
  variables: Readonly<Record<string, string>> = {},
  body = "",
  length = `${body.length}`,
): string {
  const all = { CONTENT_LENGTH: length, SCGI: "1", ...variables };
  const block = Object.entries(all)
    .map(([name, value]) => `${name}\0${value}\0`)
    .join("");
  return `${block.length}:${block},${body}`;
}

export interface CgiAnswer {
  readonly status: number;
  readonly head: string;
  /** By name in lower case. */
  readonly fields: ReadonlyMap<string, string>;
  readonly body: string;
}

/** What came until the connection was closed. */
export function cgiAnswer(text: string): CgiAnswer {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) throw new Error(`no CGI response: ${JSON.stringify(text.slice(0, 200))}`);
  const head = text.slice(0, end);
  const fields = new Map(
    head.split("\r\n").map((line) => {
      const [name = "", ...rest] = line.split(": ");
      return [name.toLowerCase(), rest.join(": ")];
    }),
  );
  return {
    status: Number(fields.get("status")?.slice(0, 3)),
    head,
    fields,
    body: text.slice(end + 4),
  };
}
