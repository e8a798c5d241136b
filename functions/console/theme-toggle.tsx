// The button that turns the page light or dark.
import { useTheme } from './theme.ts'
import { Icon } from './ui/icon.tsx'

export function ThemeToggle() {
  const { theme, toggle } = useTheme()
  const label = theme === 'dark' ? 'Use light colours' : 'Use dark colours'
  return (
    <button class="icon-button" type="button" aria-label={label} title={label} onClick={toggle}>
      <Icon name={theme === 'dark' ? 'sun' : 'moon'} />
    </button>
  )
}
