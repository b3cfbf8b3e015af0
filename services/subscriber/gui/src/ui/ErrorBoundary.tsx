import { Component, type ReactNode } from 'react';
import { Problem } from './Problem';

interface Props {
  /** When this changes, what failed is tried again. */
  resetKey: string;
  children: ReactNode;
}

/** Keeps a failing part of the page from taking the rest with it. */
export class ErrorBoundary extends Component<Props, { error: unknown }> {
  state = { error: null as unknown };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  componentDidUpdate(previous: Props) {
    if (previous.resetKey !== this.props.resetKey && this.state.error !== null) this.setState({ error: null });
  }

  render() {
    if (this.state.error === null) return this.props.children;
    return <Problem error={this.state.error} onRetry={() => this.setState({ error: null })} />;
  }
}
