import { marked } from '../shell/treeRows';

/** Text in which what was searched for stands out. */
export function Marked({ text, words }: { text: string; words: string[] }) {
  return <>{marked(text, words).map((part, i) => (part.hit ? <mark key={i}>{part.text}</mark> : part.text))}</>;
}
