// @h5web/lib imports ndarray-ops for its side effects only and calls none of its functions.
export {};
