// Texts on the screen and for screen readers.

// Set a text only if it differs, so that screen readers and selections are not disturbed.
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
const timers = new Map();

// Announcements at the same time are all read, one after the other.
function say(id, words) {
  const region = document.getElementById(id);
  clearTimeout(timers.get(id));
  region.append(Object.assign(document.createElement("span"), { textContent: `${words} ` }));
  timers.set(id, setTimeout(() => region.replaceChildren(), CLEAR_MS));
}

export const announce = (words) => say("announcements", words);
export const announceAtOnce = (words) => say("alerts", words);
