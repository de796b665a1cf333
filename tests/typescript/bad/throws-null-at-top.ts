throw null;
export default 1;
