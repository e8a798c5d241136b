// A plot over days, drawn by uPlot: stacked bars or lines. What it shows is also said in words, and in a table beside it.
import { useEffect, useRef } from 'preact/hooks'
import UPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'

const HEIGHT = 240
const COLOURS = 6
const BAR_SHARE = 0.7
const MAX_BAR_PX = 40
const DAY_SECONDS = 86_400
/** Days from one name below the plot to the next: never less than one, which would name a day twice. */
const STEPS = [1, 2, 3, 4, 7, 14, 30, 60, 90, 180].map((days) => days * DAY_SECONDS)

export interface PlotSeries {
  readonly name: string
  readonly values: readonly (number | null)[]
}

interface PlotProps {
  /** What it shows, for those who do not see it. */
  readonly label: string
  readonly kind: 'bars' | 'lines'
  /** Seconds since the epoch, at the beginning of each day in UTC; one at least. */
  readonly times: readonly number[]
  readonly series: readonly PlotSeries[]
  format(value: number): string
}

export function Plot({ label, kind, times, series, format }: PlotProps) {
  const frame = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const element = frame.current!
    let plot: UPlot
    const draw = () => {
      plot?.destroy()
      plot = new UPlot(optionsOf(element, kind, times, series, format), dataOf(kind, times, series), element)
    }
    draw()
    const resized = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT }))
    resized.observe(element)
    // The canvas does not follow colours by itself.
    const themed = new MutationObserver(draw)
    themed.observe(document.documentElement, { attributeFilter: ['data-theme'] })
    const system = matchMedia('(prefers-color-scheme: dark)')
    system.addEventListener('change', draw)
    return () => {
      resized.disconnect()
      themed.disconnect()
      system.removeEventListener('change', draw)
      plot.destroy()
    }
  }, [kind, times, series, format])
  return (
    <figure class="plot">
      <div ref={frame} role="img" aria-label={label} />
      <figcaption class="legend">
        {series.map(({ name }, place) => (
          <span key={name} style={`--mark: var(${colourName(place)})`}>
            {name}
          </span>
        ))}
      </figcaption>
    </figure>
  )
}

function optionsOf(
  element: HTMLElement,
  kind: PlotProps['kind'],
  times: readonly number[],
  series: readonly PlotSeries[],
  format: (value: number) => string,
): UPlot.Options {
  const colour = (name: string) => colourOf(element, name)
  const axis = {
    stroke: colour('--muted'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
    font: '12px system-ui, sans-serif',
  }
  const drawn = series.map(({ name }, place) => {
    const stroke = colour(colourName(place))
    const bars = {
      fill: stroke,
      width: 0,
      points: { show: false },
      paths: UPlot.paths.bars!({ size: [BAR_SHARE, MAX_BAR_PX] }),
    }
    return {
      label: name,
      stroke,
      ...(kind === 'bars' ? bars : { width: 2, spanGaps: true, points: { size: 6, fill: stroke } }),
    }
  })
  return {
    width: element.clientWidth,
    height: HEIGHT,
    tzDate: (seconds) => UPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
    legend: { show: false },
    cursor: { show: false },
    scales: {
      // Room for the whole bars of the first and the last day, and for one day that is both.
      x: { range: () => [times[0]! - DAY_SECONDS / 2, times.at(-1)! + DAY_SECONDS / 2] },
      y: { range: (_, __, max) => [0, max > 0 ? max * 1.08 : 1] },
    },
    axes: [
      { ...axis, grid: { show: false }, space: 70, incrs: STEPS, values: (_, ticks) => ticks.map(dayName) },
      { ...axis, size: 64, values: (_, ticks) => ticks.map(format) },
    ],
    // Stacked: the highest sum first, and each lower one drawn over it.
    series: [{}, ...(kind === 'bars' ? drawn.toReversed() : drawn)],
  }
}

function dataOf(kind: PlotProps['kind'], times: readonly number[], series: readonly PlotSeries[]): UPlot.AlignedData {
  if (kind === 'lines') return [[...times], ...series.map(({ values }) => [...values])]
  const sums: number[][] = []
  for (const { values } of series) sums.push(values.map((value, i) => (value ?? 0) + (sums.at(-1)?.[i] ?? 0)))
  return [[...times], ...sums.reverse()]
}

/** Of the series in this place. */
function colourName(place: number): string {
  return `--series-${place % COLOURS}`
}

function dayName(seconds: number): string {
  return new Date(seconds * 1000).toLocaleDateString('en', { month: 'short', day: 'numeric', timeZone: 'UTC' })
}

/** A custom property's colour as the canvas understands it: `light-dark()` is resolved only where it is used. */
function colourOf(element: HTMLElement, name: string): string {
  element.style.color = `var(${name})`
  const { color } = getComputedStyle(element)
  element.style.color = ''
  return color
}
