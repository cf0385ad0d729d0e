// What `data` of connections is: filled in by the application, for its compiler.

/**
 * The type of `data` of every connection of a program, once it has a member; `unknown` without.
 *
 * @example
 * ```ts
 * declare module "millrace" {
 *   interface ConnectionData {
 *     requests: number;
 *   }
 * }
 * ```
 */
// biome-ignore lint/suspicious/noEmptyInterface: applications merge theirs into it.
export interface ConnectionData {}
