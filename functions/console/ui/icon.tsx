// The page's icons: strokes on a 20 by 20 grid, in the colour of the text beside them. Always decoration, never the only name.
const PATHS = {
  menu: 'M3.5 6h13M3.5 10h13M3.5 14h13',
  play: 'M6 4.5v11l9-5.5z',
  vector: 'M4 16 15 5M9.5 4.5H15.5V10.5M4 16h.01',
  layers: 'M10 3 3 6.7l7 3.8 7-3.8zM3.5 10.2 10 13.7l6.5-3.5M3.5 13.5 10 17l6.5-3.5',
  upload: 'M10 13V4M6.5 7.2 10 3.7l3.5 3.5M4 13v2.5h12V13',
  chart: 'M3.5 16.5h13M5.5 13.5v-4M10 13.5v-9M14.5 13.5v-6',
  server: 'M4 4h12v4.5H4zM4 11.5h12V16H4zM6.8 6.2h.01M6.8 13.7h.01',
  key: 'M8 12.5a3.5 3.5 0 1 1 2.9-1.5L16.5 16.5M13.5 13.6l1.8-1.7',
  people:
    'M7.5 9.5a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6ZM2.5 16c.3-2.7 2.3-4.2 5-4.2s4.7 1.5 5 4.2M13 4.3a2.6 2.6 0 0 1 0 5M14.5 12.2c1.8.5 2.8 1.8 3 3.8',
  chip: 'M5.5 5.5h9v9h-9zM8 2.8v2.7M12 2.8v2.7M8 14.5v2.7M12 14.5v2.7M2.8 8h2.7M2.8 12h2.7M14.5 8h2.7M14.5 12h2.7',
  sun: 'M10 13a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM10 2.5v1.7M10 15.8v1.7M2.5 10h1.7M15.8 10h1.7M4.7 4.7l1.2 1.2M14.1 14.1l1.2 1.2M4.7 15.3l1.2-1.2M14.1 5.9l1.2-1.2',
  moon: 'M16 11.8A6.5 6.5 0 0 1 8.2 4a6.5 6.5 0 1 0 7.8 7.8Z',
  exit: 'M8 4H4.5v12H8M12.5 6.5 16 10l-3.5 3.5M7.5 10H16',
  copy: 'M7.5 7.5h8v8h-8zM12.5 7.5v-3h-8v8h3',
  check: 'm4.5 10.5 3.5 3.5 7.5-8',
  back: 'M12 5l-5 5 5 5',
  alert: 'M10 3.5 17 16H3zM10 8.5v3.2M10 13.9h.01',
  book: 'M4 4.5c2-.8 4-.8 6 .5 2-1.3 4-1.3 6-.5v11c-2-.8-4-.8-6 .5-2-1.3-4-1.3-6-.5zM10 5v11',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  )
}
