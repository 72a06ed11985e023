/**
 * Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002): the parts of `items`,
 * in their order, of which none can be taken away without `holds` becoming false. It holds for all of them together.
 * Deterministic, and at most quadratic in what is left.
 */
export function ddmin<T>(items: readonly T[], holds: (part: readonly T[]) => boolean): readonly T[] {
  let left = items;
  for (let pieces = 2; left.length >= 2; ) {
    const size = Math.ceil(left.length / pieces);
    let smaller: readonly T[] | undefined;
    // Everything but one piece; with two pieces, that is the other one.
    // From the end on: what comes late rarely matters to what came before it.
    for (let from = Math.floor((left.length - 1) / size) * size; from >= 0; from -= size) {
      const rest = [...left.slice(0, from), ...left.slice(from + size)];
      if (rest.length > 0 && holds(rest)) {
        smaller = rest;
        break;
      }
    }
    if (smaller) {
      left = smaller;
      pieces = Math.max(2, pieces - 1);
    } else if (size === 1) return left;
    else pieces = Math.min(left.length, 2 * pieces);
  }
  return left;
}
