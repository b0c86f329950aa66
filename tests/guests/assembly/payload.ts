// Payloads byte by byte: packed, little-endian, a string behind its length of four bytes.

// Names and values in turn.
export type Fields = string[];

export class Reader {
  private at: usize = 0;

  constructor(private readonly payload: ArrayBuffer) {}

  number(): u32 {
    return load<u32>(this.take(4));
  }

  text(): string {
    const length = this.number();
    return String.UTF8.decodeUnsafe(this.take(length), length);
  }

  skip(): void {
    this.take(this.number());
  }

  fields(): Fields {
    const fields = new Array<string>();
    for (let left = this.number(); left > 0; left--) {
      fields.push(this.text());
      fields.push(this.text());
    }
    return fields;
  }

  private take(count: u32): usize {
    assert(this.at + count <= <usize>this.payload.byteLength);
    const pointer = changetype<usize>(this.payload) + this.at;
    this.at += count;
    return pointer;
  }
}

export class Writer {
  private readonly parts: ArrayBuffer[] = [];

  number(value: u32): Writer {
    const part = new ArrayBuffer(4);
    store<u32>(changetype<usize>(part), value);
    this.parts.push(part);
    return this;
  }

  long(value: u64): Writer {
    const part = new ArrayBuffer(8);
    store<u64>(changetype<usize>(part), value);
    this.parts.push(part);
    return this;
  }

  text(value: string): Writer {
    const part = String.UTF8.encode(value);
    this.number(part.byteLength);
    this.parts.push(part);
    return this;
  }

  bytes(): ArrayBuffer {
    let length = 0;
    for (let i = 0; i < this.parts.length; i++) length += this.parts[i].byteLength;
    const all = new ArrayBuffer(length);
    let at = changetype<usize>(all);
    for (let i = 0; i < this.parts.length; i++) {
      memory.copy(at, changetype<usize>(this.parts[i]), this.parts[i].byteLength);
      at += this.parts[i].byteLength;
    }
    return all;
  }
}

export class Request {
  private constructor(
    readonly url: string,
    readonly body: string, // its kind
    readonly query: Fields,
    readonly headers: Fields,
  ) {}

  static decode(payload: ArrayBuffer): Request {
    const reader = new Reader(payload);
    assert(reader.number() == 0);
    const url = reader.text();
    assert(reader.number() == 1);
    const body = skipBody(reader);
    assert(reader.number() == 2);
    reader.fields(); // of the path
    assert(reader.number() == 3);
    const query = reader.fields();
    assert(reader.number() == 4);
    return new Request(url, body, query, reader.fields());
  }

  // The URL's path, whether or not the URL begins with a scheme and an authority.
  path(): string {
    const scheme = this.url.indexOf("://");
    const start = scheme < 0 ? 0 : this.url.indexOf("/", scheme + 3);
    return start < 0 ? "/" : this.url.substring(start).split("?")[0];
  }
}

// Gives the kind of body.
function skipBody(reader: Reader): string {
  switch (reader.number()) {
    case 0:
      return "none";
    case 1:
      reader.skip();
      return "text";
    case 2:
      for (let left = reader.number(); left > 0; left--) {
        reader.skip(); // the name
        if (reader.number() == 1) {
          reader.skip(); // a file's name
          reader.skip(); // and type
        }
        reader.skip();
      }
      return "form";
    case 3:
      reader.skip(); // the type
      reader.skip();
      return "blob";
    case 4:
      reader.skip();
      return "json";
    default:
      throw new Error("no kind of body has this number");
  }
}
