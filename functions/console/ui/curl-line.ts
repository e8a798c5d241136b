// A request as a line for a POSIX shell. The key is a variable: what is copied may be shown to others.

export function curlLine(url: string, body: object): string {
  const data = JSON.stringify(body).replaceAll("'", `'\\''`)
  return [
    `curl ${url} \\`,
    `  -H "Authorization: Bearer $POLYLORA_API_KEY" \\`,
    `  -H 'Content-Type: application/json' \\`,
    `  -d '${data}'`,
  ].join('\n')
}
