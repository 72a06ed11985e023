/** One measured figure, and the target that it is held to. */
export interface Figure {
  name: string;
  value: string;
  detail?: string;
  target?: string;
  met?: boolean;
}

export function printFigures(figures: readonly Figure[]): void {
  const rows = figures.map(({ name, value, detail = '', target = '', met }) => [
    name,
    value,
    detail,
    target,
    met === undefined ? '' : met ? 'met' : 'MISSED',
  ]);
  rows.unshift(['WHAT', 'FIGURE', 'DETAIL', 'TARGET', '']);
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    );
}
