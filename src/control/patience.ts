/** Into how many parts the time is cut. */
const PARTS = 10;

/**
 * Calls back after so many milliseconds in which this process ran. However long it stands still, that counts as a tenth of them at
 * most: a timer of the whole would then be over before what has come meanwhile is read.
 * @returns ends the waiting
 */
export function afterRunning(milliseconds: number, over: () => void): () => void {
  let left = PARTS;
  const timer = setInterval(() => {
    if (--left > 0) return;
    clearInterval(timer);
    over();
  }, milliseconds / PARTS);
  return () => clearInterval(timer);
}
