// A matrix with rows and columns exchanged. Knows nothing of what it holds.

/** `values` [rows, columns] row-major as [columns, rows] row-major. */
export function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = values[row * columns + column]!
  }
  return result
}
