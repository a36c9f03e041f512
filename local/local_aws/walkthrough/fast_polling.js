// Loaded into the CDK CLI with NODE_OPTIONS: ask the embedded AWS how a stack is doing every quarter of a second.
//
// The CLI waits five seconds between its questions about change sets and stacks, and two between those about events.
// AWS limits how often they may be asked, and takes minutes; here most answers have changed after a moment.
const POLLS = new Set([5000, 2000]);
const wait = globalThis.setTimeout;

function setTimeout(callback, delay, ...values) {
  return wait(callback, POLLS.has(delay) ? 250 : delay, ...values);
}

Object.defineProperties(setTimeout, Object.getOwnPropertyDescriptors(wait)); // util.promisify.custom is one of them
globalThis.setTimeout = setTimeout;
