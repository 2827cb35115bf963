"""Records in files: JSONL, Parquet, WebDataset shards; written whole, streamed, or read by number.

    write_records(records, path, pictures="refer")     records -> train.jsonl, train.parquet, train-%06d.tar
    stream_records(path)                               one after another, in constant memory
    RecordFile(path)[7]                                any of them, from any process
    open_picture(record, 0)                            its picture

A path is a file, a pattern such as "train-*.tar", or a folder of files of one kind. All three kinds hold what
`Record.to_dict` gives:

- `.jsonl`, `.jsonl.gz`: one record a line; pictures inside are base64.
- `.parquet`: one column per field; pictures inside stand in `picture_bytes`, a list per row.
- `.tar`: one group of members per record, `KEY.json`, `KEY.0.jpg`, `KEY.1.png`. KEY has no dots and is unique in the
  file; the record's own key stands in the json. Groups that others wrote may name their one picture `KEY.jpg`.

Pictures that a file refers to stand in it relative to its folder where they lie in that folder, so that it can be
moved; records come out with the full path.
"""

from fo1.data.storage.pictures import open_picture
from fo1.data.storage.reading import RecordFile, stream_records
from fo1.data.storage.writing import write_records

__all__ = ["RecordFile", "open_picture", "stream_records", "write_records"]
