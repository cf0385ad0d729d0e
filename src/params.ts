// The types of route parameters, from the pattern's text. Types only.

type NameOf<Segment extends string> = Segment extends `:${infer Name}`
  ? Name
  : Segment extends `@${infer Name}`
    ? Name
    : Segment extends `*${string}` | `${string}*`
      ? "*"
      : never;

type NamesOf<Path extends string> = Path extends `${infer Segment}/${infer Rest}`
  ? NameOf<Segment> | NamesOf<Rest>
  : NameOf<Path>;

/**
 * The parameters of a route pattern: `Params<"/users/:id/**">` is `{ readonly id: string; readonly
 * "*": string }`. Of several wildcards the last one is "*".
 */
export type Params<P extends string> = string extends P
  ? Readonly<Record<string, string>>
  : { readonly [Name in NamesOf<P>]: string };
