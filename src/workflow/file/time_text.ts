/** Times as text of RFC 3339. */

const TIME = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d+)?)([Zz]|[+-]\d\d:\d\d)$/;

/** Does a text have the form of a time? */
export function isTime(text: string): boolean {
  return TIME.test(text);
}

/** Milliseconds since 1970; undefined if the text is no time, or of a day that does not exist. */
export function timeOf(text: string): number | undefined {
  const [, day, clock, zone] = TIME.exec(text) ?? [];
  if (day === undefined) return undefined;
  const time = Date.parse(`${day}T${clock}${zone?.toUpperCase()}`);
  // JavaScript takes 31 February for 3 March.
  const isRealDay = !Number.isNaN(time) && new Date(`${day}T00:00:00Z`).toISOString().startsWith(day);
  return isRealDay ? time : undefined;
}
