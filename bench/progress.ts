/** How far a long preparation is. */

/** Tells at each tenth how far a long preparation is. */
export function teller(
  whole: number,
  what: string,
  onNotice: (line: string) => void,
): (done: number) => void {
  let told = 0;
  return (done) => {
    const tenths = Math.floor((10 * done) / whole);
    if (tenths <= told) return;
    told = tenths;
    onNotice(`large: ${done.toLocaleString("en")} of ${whole.toLocaleString("en")} ${what}`);
  };
}
