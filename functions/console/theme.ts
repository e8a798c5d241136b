// Light or dark: what the system says, until somebody chooses. The choice is a preference, so it outlives the tab.
import { useState } from 'preact/hooks'

const STORED_AS = 'polylora.theme'
type Theme = 'light' | 'dark'

const systemTheme = (): Theme => (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')

/** To be called before anything is drawn. */
export function applyStoredTheme(): void {
  const stored = storedTheme()
  if (stored === 'light' || stored === 'dark') document.documentElement.dataset.theme = stored
}

export function useTheme(): { theme: Theme; toggle(): void } {
  const [theme, setTheme] = useState<Theme>((document.documentElement.dataset.theme as Theme) ?? systemTheme())
  const toggle = () => {
    const other = theme === 'dark' ? 'light' : 'dark'
    document.documentElement.dataset.theme = other
    storeTheme(other)
    setTheme(other)
  }
  return { theme, toggle }
}

/** Nothing where the browser blocks what sites store, which throws. */
function storedTheme(): string | null {
  try {
    return localStorage.getItem(STORED_AS)
  } catch {
    return null
  }
}

function storeTheme(theme: Theme): void {
  try {
    localStorage.setItem(STORED_AS, theme)
  } catch {
    // Blocked: the choice is this page's alone.
  }
}
