// Words for people, on the screen and for those who hear it.

// Set a text only where it differs: what is read aloud, or selected, is not disturbed.
export function text(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

export function seconds(number) {
  const whole = Math.max(0, Math.round(number));
  if (whole < 120) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

const CLEAR_MS = 8000;
const waiting = new Map();

// Several things that happen at once are all read, one after the other.
function say(id, words) {
  const region = document.getElementById(id);
  clearTimeout(waiting.get(id));
  region.append(Object.assign(document.createElement("span"), { textContent: `${words} ` }));
  waiting.set(id, setTimeout(() => region.replaceChildren(), CLEAR_MS));
}

export const announce = (words) => say("told", words);
export const announceAtOnce = (words) => say("told-at-once", words);
