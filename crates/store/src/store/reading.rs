//! Reading pages: one text for both drivers, whose types share no trait that bounds could name in a few words.

/// Makes `read` for a driver: of its pool, its connection, its arguments, the function that reads a row, and the statement that begins a
/// transaction in which all is of one moment.
macro_rules! reading {
    ($pool:ty, $connection:ty, $arguments:ty, $read_row:path, $begin:literal) => {
        /// Reads a page.
        async fn read(pool: &$pool, query: &Query) -> Result<Page, Error> {
            let mut transaction = pool
                .begin_with($begin)
                .await
                .map_err(Error::during("begin to read"))?;
            let channel_key: Option<i64> = sqlx::query_scalar(statement::SELECT_CHANNEL)
                .bind(query.domain_id.uuid())
                .bind(query.channel_id.uuid())
                .fetch_optional(&mut *transaction)
                .await
                .map_err(Error::during("find a channel"))?;
            let Some(channel_key) = channel_key else {
                return Ok(Page::default());
            };
            let (total, is_total_capped) = count(&mut transaction, channel_key, &query.filter)
                .await
                .map_err(Error::during("count records"))?;
            // Looking for records that are not there would walk the whole channel a second time.
            if !is_total_capped && query.offset >= total {
                return Ok(Page {
                    total,
                    ..Page::default()
                });
            }
            let (records, next) = read_records(&mut transaction, channel_key, query)
                .await
                .map_err(Error::during("read records"))?;
            transaction.commit().await.map_err(Error::during("end reading"))?;
            Ok(Page {
                records,
                total,
                is_total_capped,
                next,
            })
        }

        /// The number of records that match, and whether there are more than that.
        async fn count(
            connection: &mut $connection,
            channel_key: i64,
            filter: &Filter,
        ) -> Result<(u64, bool), sqlx::Error> {
            let arguments = match_arguments(channel_key, KeyRange::of_filter(filter), filter)?;
            let found: i64 = sqlx::query_scalar_with(statement::COUNT.as_str(), arguments)
                .fetch_one(connection)
                .await?;
            let found = found.cast_unsigned();
            Ok((found.min(TOTAL_MAX), found > TOTAL_MAX))
        }

        /// The records of a page, and where the next one begins.
        async fn read_records(
            connection: &mut $connection,
            channel_key: i64,
            query: &Query,
        ) -> Result<(Vec<StoredRecord>, Option<Cursor>), sqlx::Error> {
            let range = KeyRange::of_filter(&query.filter);
            let range = query
                .after
                .map_or(range, |cursor| range.after(cursor, query.order));
            let mut arguments = match_arguments(channel_key, range, &query.filter)?;
            let count_max = query.limit.count();
            // One more than the page may have tells whether there is a next one.
            arguments.add(count_max as i64 + 1).map_err(sqlx::Error::Encode)?;
            arguments
                .add(i64::try_from(query.offset).unwrap_or(i64::MAX))
                .map_err(sqlx::Error::Encode)?;
            let text = match query.order {
                Order::Descending => statement::SELECT_DESCENDING.as_str(),
                Order::Ascending => statement::SELECT_ASCENDING.as_str(),
            };
            let mut rows = sqlx::query_with(text, arguments).fetch(connection);
            let mut records: Vec<StoredRecord> = Vec::new();
            let mut text_bytes = 0;
            while let Some(row) = rows.try_next().await? {
                if records.len() == count_max || text_bytes >= PAGE_BYTES_MAX {
                    let next = records.last().map(Cursor::of);
                    return Ok((records, next));
                }
                let record = $read_row(&row, query.domain_id, query.channel_id)?;
                text_bytes += record.text_bytes();
                records.push(record);
            }
            Ok((records, None))
        }

        /// The arguments `$1` to `$11` of the statements that match records.
        fn match_arguments(channel_key: i64, range: KeyRange, filter: &Filter) -> Result<$arguments, sqlx::Error> {
            let mut arguments = <$arguments>::default();
            let mut add_all = || {
                arguments.add(channel_key)?;
                for end in [range.start, range.end] {
                    arguments.add(end.time)?;
                    arguments.add(end.message_id.uuid())?;
                    arguments.add(i64::from(end.pack_index))?;
                }
                arguments.add(filter.subtopic.as_deref())?;
                arguments.add(filter.publisher_id)?;
                arguments.add(filter.protocol.map(Protocol::as_str))?;
                arguments.add(filter.name.as_deref())
            };
            add_all().map_err(sqlx::Error::Encode)?;
            Ok(arguments)
        }
    };
}

pub(super) use reading;
