// Tokens/s against streams as an SVG: one line for each contender and mode.
import type { Row } from './goals.ts'

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [900, 460, 60, 280, 20, 45] as const
const COLOURS = [
  '#2563eb',
  '#dc2626',
  '#059669',
  '#d97706',
  '#7c3aed',
  '#0891b2',
  '#be185d',
  '#4d7c0f',
  '#475569',
  '#f472b6',
]

export function picture(rows: readonly Row[]): string {
  const series = [...new Set(rows.map(({ contender, mode }) => `${contender}, ${mode}`))]
  const counts = [...new Set(rows.map(({ streams }) => streams))].sort((x, y) => x - y)
  const most = Math.max(...rows.map(({ tokensPerSecond }) => tokensPerSecond))
  const step = 10 ** Math.floor(Math.log10(most)) / (most / 10 ** Math.floor(Math.log10(most)) < 4 ? 2 : 1)
  const top = Math.ceil(most / step) * step
  const x = (streams: number) =>
    LEFT + (counts.indexOf(streams) / Math.max(1, counts.length - 1)) * (WIDTH - LEFT - RIGHT)
  const y = (rate: number) => HEIGHT - BOTTOM - (rate / top) * (HEIGHT - TOP - BOTTOM)
  const parts: string[] = []
  for (let rate = 0; rate <= top; rate += step) {
    parts.push(`<path d="M${LEFT} ${y(rate).toFixed(1)}H${WIDTH - RIGHT}" stroke="#e5e7eb"/>`)
    parts.push(`<text x="${LEFT - 8}" y="${(y(rate) + 4).toFixed(1)}" text-anchor="end">${rate}</text>`)
  }
  for (const count of counts)
    parts.push(`<text x="${x(count)}" y="${HEIGHT - 24}" text-anchor="middle">${count}</text>`)
  parts.push(`<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 6}" text-anchor="middle">streams</text>`)
  parts.push(
    `<text x="14" y="${HEIGHT / 2}" transform="rotate(-90 14 ${HEIGHT / 2})" text-anchor="middle">tokens/s</text>`,
  )
  for (const [i, name] of series.entries()) {
    const colour = COLOURS[i % COLOURS.length]
    const points = rows.filter((row) => `${row.contender}, ${row.mode}` === name).sort((p, q) => p.streams - q.streams)
    const at = points.map((row) => `${x(row.streams).toFixed(1)},${y(row.tokensPerSecond).toFixed(1)}`)
    parts.push(`<polyline points="${at.join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>`)
    for (const point of at)
      parts.push(`<circle cx="${point.split(',')[0]}" cy="${point.split(',')[1]}" r="3" fill="${colour}"/>`)
    const key = TOP + 14 + i * 20
    parts.push(`<rect x="${WIDTH - RIGHT + 16}" y="${key - 9}" width="10" height="10" fill="${colour}"/>`)
    parts.push(`<text x="${WIDTH - RIGHT + 32}" y="${key}">${name}</text>`)
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" fill="#374151"><title>Tokens per second against streams</title><rect width="100%" height="100%" fill="#fff"/>${parts.join('')}</svg>\n`
}
