// What `scgi` of the package has: the classic loop.
export { ScgiError } from "./error.ts";
export type { ScgiRequest } from "./request.ts";
export { open, run, type ScgiHandler, type ScgiOptions, type ScgiState } from "./state.ts";
