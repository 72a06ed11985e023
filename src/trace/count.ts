/** `1 frame`, `2 frames`. @param figure the number as it is to be written */
export function count(number: number, noun: string, figure = String(number)): string {
  return `${figure} ${noun}${number === 1 ? '' : 's'}`;
}
