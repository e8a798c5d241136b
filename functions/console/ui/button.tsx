// A button, or a link that looks like one.
import type { ComponentChildren } from 'preact'
import { Icon, type IconName } from './icon.tsx'

interface Look {
  readonly kind?: 'primary' | 'plain' | 'danger'
  readonly icon?: IconName
  readonly children: ComponentChildren
}

interface ButtonProps extends Look {
  readonly type?: 'button' | 'submit'
  readonly isBusy?: boolean
  readonly disabled?: boolean
  /** Where the text alone does not say what it acts on. */
  readonly label?: string
  onClick?(): void
}

export function Button({
  kind = 'plain',
  type = 'button',
  icon,
  isBusy,
  disabled,
  label,
  onClick,
  children,
}: ButtonProps) {
  return (
    <button
      class={`button ${kind}`}
      type={type}
      disabled={disabled}
      // Not `disabled`, which would take the focus from whoever pressed it.
      aria-disabled={isBusy}
      aria-busy={isBusy}
      aria-label={label}
      onClick={(event) => {
        // The second click of a double click may meet what the first has put there: the way back, or another key to make.
        if (isBusy || event.detail > 1) event.preventDefault()
        else onClick?.()
      }}
    >
      {isBusy ? <span class="spinner" aria-hidden="true" /> : icon && <Icon name={icon} />}
      {children}
    </button>
  )
}

interface ButtonLinkProps extends Look {
  readonly href: string
  readonly label?: string
}

export function ButtonLink({ kind = 'plain', icon, href, label, children }: ButtonLinkProps) {
  return (
    <a class={`button ${kind}`} href={href} aria-label={label}>
      {icon && <Icon name={icon} />}
      {children}
    </a>
  )
}
