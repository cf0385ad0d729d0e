// What all servers under measurement agree on. Everything else is written the way each is used.
export const text = "Hello, World!";
export const staticText = text;

// No connection is closed for idleness during a run, by anyone.
export const keepAliveMs = 240_000;
