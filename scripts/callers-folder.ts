// Where paths on a command line begin: npm runs a script in the package's own folder, and notes where it was itself called.

/** The folder that whoever called the npm script of this name was in; where no npm ran it, this process's own. */
export function callersFolder(script: string, env: NodeJS.ProcessEnv): string {
  // A process that such a script starts is given the same variables, but is in a folder of its own choice.
  return (env.npm_lifecycle_event === script && env.INIT_CWD) || process.cwd()
}
