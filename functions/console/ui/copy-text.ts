// A text for the clipboard.

export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text)
  // Over plain HTTP there is no clipboard to write to, but what is copied can still be chosen.
  const choose = (event: ClipboardEvent) => {
    event.clipboardData?.setData('text/plain', text)
    event.preventDefault()
  }
  document.addEventListener('copy', choose, { once: true })
  document.execCommand('copy')
}
