// Loaded into the CDK CLI with NODE_OPTIONS: ask the embedded AWS how a stack is doing every quarter of a second, and
// less often if it takes long: each question about events costs both sides several milliseconds per resource.
//
// The CLI waits five seconds between its questions about change sets and stacks, and two between those about events.
// AWS limits how often they may be asked, and takes minutes; here most answers have changed after a moment.
const POLLS = new Set([5000, 2000]);
const FIRST_POLL = 250;
const SHARE = 1 / 20; // of the command's time so far, which is how late it may see the end
const wait = globalThis.setTimeout;

function setTimeout(callback, delay, ...values) {
  const patience = Math.max(FIRST_POLL, process.uptime() * SHARE * 1000);
  return wait(callback, POLLS.has(delay) ? Math.min(patience, delay) : delay, ...values);
}

Object.defineProperties(setTimeout, Object.getOwnPropertyDescriptors(wait)); // util.promisify.custom is one of them
globalThis.setTimeout = setTimeout;
