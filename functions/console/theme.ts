// Light or dark: what the system says, until somebody chooses. The choice is a preference, so it outlives the tab.
import { useState } from 'preact/hooks'

const STORED_AS = 'polylora.theme'
type Theme = 'light' | 'dark'

const systemTheme = (): Theme => (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')

/** To be called before anything is drawn. */
export function applyStoredTheme(): void {
  const stored = localStorage.getItem(STORED_AS)
  if (stored === 'light' || stored === 'dark') document.documentElement.dataset.theme = stored
}

export function useTheme(): { theme: Theme; toggle(): void } {
  const [theme, setTheme] = useState<Theme>((document.documentElement.dataset.theme as Theme) ?? systemTheme())
  const toggle = () => {
    const other = theme === 'dark' ? 'light' : 'dark'
    document.documentElement.dataset.theme = other
    localStorage.setItem(STORED_AS, other)
    setTheme(other)
  }
  return { theme, toggle }
}
