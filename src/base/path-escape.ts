// Go's url.PathEscape: how Felix makes file names and keys of ids that may hold slashes and blanks.

/** All but what stays as it is: unreserved characters of RFC 3986 and those that Go leaves in a path segment. */
const ESCAPED = /[^A-Za-z0-9\-_.~$&+=:@]+/g;

/** Escapes one path segment byte by byte (UTF-8), with upper-case hex: `ns/pod 1` → `ns%2Fpod%201`. */
export function pathEscape(text: string): string {
  return text.replace(ESCAPED, (run) => {
    const hex = Buffer.from(run, 'utf8').toString('hex').toUpperCase();
    return hex.replaceAll(/../g, '%$&');
  });
}
